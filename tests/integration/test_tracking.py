"""What a local tracker holds after a training: read back by its own reader."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import small_training as small
from support.training_fork_server import Starter

from pairuni_eval.store.evaluations import read_evaluations
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.training import RolloutGroup, read_rollouts
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.tracking import dotted, in_words

pytest.importorskip("tensorboard", reason="tensorboard is not installed")
STEPS = 3


@pytest.fixture(scope="module")
def trained(fork_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two steps and went on to the third."""
    folder = tmp_path_factory.mktemp("tracked")
    write_pairs(folder / "pairug.parquet", small.tiny_pairs(8))
    settings = {**small.SMALL, "pairs_per_step": 2, "checkpoint_every": 2, "rollouts_every": 2}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    words = ["run", "--pairs", folder, "--out", folder / "out", "--tracker", "tensorboard", *sets]
    watched = ["--evaluate", "tiny-tuning", "--every", 2, "--limit", 2]
    with contextlib.chdir(folder):  # where it writes its page
        for steps in (2, STEPS):
            assert Starter(fork_server).run([*words, *watched, "--steps", steps]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def told(trained: Path) -> Any:
    return read(trained)


def read(out: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    held = EventAccumulator(str(out / "pairuni"), size_guidance={"images": 0, "tensors": 0})
    return held.Reload()


def test_a_fine_tuning_tells_its_losses(fork_server: str, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.parquet", small.tiny_pairs(4))
    words = ["sft", "--pairs", tmp_path / "pairs.parquet", "--out", tmp_path / "out", "--steps", 1]
    sets = ["--set", "pairs_per_step=2"]
    assert Starter(fork_server).run([*words, *sets, "--tracker", "tensorboard"]) == 0
    (row,) = map(json.loads, (tmp_path / "out/metrics.jsonl").open())
    (event,) = read(tmp_path / "out").Scalars("loss/gen")
    assert event.value == pytest.approx(row["loss/gen"], rel=1e-6)


def test_every_metric_of_every_step_is_there(trained: Path, told: Any) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").open()]
    assert len(rows) == STEPS
    names = {name for row in rows for name in row} - {"step"}
    assert names <= set(told.Tags()["scalars"])
    for name in names:
        expected = {row["step"]: row[name] for row in rows if name in row}
        found = {one.step: one.value for one in told.Scalars(name)}
        assert found == pytest.approx(expected, rel=1e-6, nan_ok=True), name


def test_evaluations_stand_beside_them(trained: Path, told: Any) -> None:
    rows = read_evaluations(trained)
    assert [row.step for row in rows] == [0, 2, 3]
    for place, headline in enumerate(rows[0].headlines):
        found = told.Scalars(f"evaluation/tiny-tuning/{headline.benchmark}")
        values = {row.step: row.headlines[place].value for row in rows}
        assert {one.step: one.value for one in found} == pytest.approx(
            {step: 100 * value for step, value in values.items() if value is not None}
        )
        low = told.Scalars(f"evaluation/tiny-tuning/{headline.benchmark}/low")
        assert low[0].value == pytest.approx(100 * (rows[0].headlines[place].low or 0.0))


def test_pictures_that_were_drawn_are_there_pixel_by_pixel(trained: Path, told: Any) -> None:
    pictures = Pictures(trained)
    drawn = [one for one in read_rollouts(trained) if one.task == "gen"]
    assert [one.step for one in drawn] == [0, 2]
    for event, group in zip(told.Images("rollouts/gen/drawn"), drawn, strict=True):
        assert event.step == group.step
        images = [
            Image.open(io.BytesIO(pictures.data(one))).convert("RGB")
            for one in group.drawn
            if one is not None
        ]
        assert len(images) == 4
        side_by_side = np.concatenate([np.asarray(one) for one in images], axis=1)
        found = Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")
        assert (np.asarray(found) == side_by_side).all()


def test_answers_are_there_as_words(trained: Path, told: Any) -> None:
    asked = [one for one in read_rollouts(trained) if one.task == "und"]
    (first, *_) = told.Tensors("rollouts/und/text_summary")
    assert first.tensor_proto.string_val[0].decode() == in_words(asked[0])


def test_what_a_model_says_stays_in_its_block() -> None:
    group = RolloutGroup(
        step=0, task="und", pair="p", asked="Which?", image=None, gold="red",
        answers=("```\n# <b>not</b>", "red"), drawn=(None, None),
        rewards={"total": (0.0, None)}, advantages=(-0.7, None),
    )  # fmt: skip
    assert in_words(group) == (
        "````\nWhich?\ngold: red\n\ntotal 0, advantage -0.7: ```\n# <b>not</b>\n"
        "total none, advantage none: red\n````"
    )


def test_settings_are_told_by_dotted_key() -> None:
    assert dotted({"recipe": {"gen": {"rollouts": 4}, "steps": 3}, "pairs": None}) == {
        "recipe.gen.rollouts": 4,
        "recipe.steps": 3,
        "pairs": "None",
    }
