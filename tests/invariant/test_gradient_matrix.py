"""The per-pair matrix: the gradients of training, half by half, whatever batches they came in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from support import small_training as small

from pairuni_eval.errors import UserError
from pairuni_eval.gradients.matrix_file import read_matrix
from pairuni_eval.gradients.rows import ALL
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.controls import ControlCases
from pairuni_train.gradient_probe.half_gradients import HalfGradients
from pairuni_train.gradient_probe.matrix import (
    MatrixJob,
    MatrixSummary,
    distinct_pairs,
    measure_matrix,
)
from pairuni_train.gradient_probe.projection import Projection
from pairuni_train.gradient_probe.scenarios import addressed
from pairuni_train.grpo.advantages import no_weight
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.rewards import WeightedSum
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainable_parameters import select_trainable
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.pair_data.record import Pair
from pairuni_train.setup import RewardScheme, load_trainable

COUNT = 5


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return small.tiny_pairs(COUNT + 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "aligned.parquet", pairs)
    write_pairs(folder / "unpaired.parquet", small.unpaired(pairs))
    (folder / "reversed").mkdir()
    write_pairs(folder / "reversed" / "aligned.parquet", pairs[::-1])
    return folder


def reward_with_spread(patch: pytest.MonkeyPatch) -> None:
    """An untrained model's pictures hold nothing and its answers are wrong: no group has spread."""

    def load(specs: Sequence[RewardSpec]) -> WeightedSum:
        return small.REWARDS["gen" if specs[0].name == "scorer:tiny-geneval" else "und"]

    patch.setattr("pairuni_train.setup.load_rewards", load)


@pytest.fixture(autouse=True)
def rewards_with_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    reward_with_spread(monkeypatch)


def job(untrained: Path, pairs: Path, out: Path, **changes: Any) -> MatrixJob:
    settings = {
        key: changes.pop(key) for key in ("micro_batch", "pairs_per_step") if key in changes
    }
    recipe = small.small_recipe(checkpoint=str(untrained), **settings)
    return MatrixJob(recipe, pairs, ("aligned",), COUNT, 0, out)._replace(**changes)


def run(asked: MatrixJob) -> MatrixSummary:
    return measure_matrix(asked, Console(quiet=True))


@pytest.fixture(scope="module")
def whole(
    untrained: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, MatrixSummary]:
    """A finished matrix."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        reward_with_spread(patch)
        out = tmp_path_factory.mktemp("whole") / "out"
        return out, run(job(untrained, folder, out))


def cosines(out: Path, block: str = ALL) -> np.ndarray:
    (table,) = read_matrix(out)
    return table.cosines(block)


def test_what_a_matrix_leaves(whole: tuple[Path, MatrixSummary]) -> None:
    out, summary = whole
    (table,) = read_matrix(out)
    assert table.inner[ALL].shape == (COUNT, COUNT)
    assert len(table.blocks) > 2
    total = sum(table.inner[block] for block in table.blocks if block != ALL)
    np.testing.assert_allclose(table.inner[ALL], total)
    assert [one.name for one in summary.controls] == [
        "same",
        "flip",
        "angle",
        "itself",
        "noise",
        "planted",
    ]
    assert all(one.holds for one in summary.controls)
    stored = json.loads((out / "matrix.json").read_text())
    assert stored["projection"]["kept"] == stored["projection"]["numbers"]
    assert stored["projection"]["error"][ALL] < 1e-6
    lines = [json.loads(line) for line in (out / "halves.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * COUNT and all(line["squares"] for line in lines)
    assert not (out / "vectors").exists(), "what the table was made of takes room"
    # A person with the files alone finds the printed numbers.
    rows = pd.read_parquet(out / "matrix.parquet").query("block == 'all'")
    rows = rows[~rows["und_no"] & ~rows["gen_no"]]
    cosine = rows["inner"] / (rows["und_square"] * rows["gen_square"]) ** 0.5
    within = cosine[rows["und_place"] == rows["gen_place"]]
    group = summary.findings.groups[0]
    assert group.classes[0].mean == pytest.approx(within.mean())
    assert group.classes[0].cosines == len(within)


def test_the_gradients_of_halves_are_those_of_training(untrained: Path, pairs: list[Pair]) -> None:
    """The gradient of a batch is the mean of its halves'."""
    recipe = small.small_recipe(checkpoint=str(untrained))
    scheme = RewardScheme(dict(small.REWARDS), no_weight)
    measured = HalfGradients(recipe, scheme, Accelerator(cpu=True), 0)
    policy = load_trainable(str(untrained), torch.device("cpu")).policy
    for task in ("und", "gen"):
        halves = list(measured.measure(pairs[:3], task))
        total = torch.stack(
            [
                torch.cat([one.gradients[name].flatten() for name in measured.blocks])
                for one in halves
            ]
        ).mean(0)
        rollouts = small.sampled(policy, task, addressed(pairs[:3], task), recipe)
        small.loss_and_gradient(policy, rollouts, recipe)
        theirs = dict(policy.named_parameters())
        batch = torch.cat([theirs[name].grad.flatten() for name in measured.blocks])
        assert float(total.norm()) > 0
        torch.testing.assert_close(total, batch, rtol=1e-3, atol=float(batch.abs().max()) * 1e-4)


def test_neither_batches_nor_order_nor_room_enough_change_a_number(
    untrained: Path, folder: Path, tmp_path: Path, whole: tuple[Path, MatrixSummary]
) -> None:
    changes = {"micro_batch": 3, "pairs_per_step": 2, "places": 10**9}
    run(job(untrained, folder / "reversed", tmp_path / "out", **changes))
    assert read_matrix(tmp_path / "out")[0].pairs == read_matrix(whole[0])[0].pairs
    np.testing.assert_allclose(cosines(tmp_path / "out"), cosines(whole[0]), atol=2e-4)


def test_controls_hold_where_all_rollouts_of_a_prompt_are_the_same(
    untrained: Path, pairs: list[Pair]
) -> None:
    recipe = small.small_recipe(checkpoint=str(untrained))
    policy = load_trainable(str(untrained), torch.device("cpu")).policy
    parameters = select_trainable(policy, recipe.trainable)
    rollouts = {}
    for task in TASKS:
        one = small.sampled(policy, task, pairs[:1], recipe)
        copies = one.chunks[0].rows(torch.zeros(recipe.task(task).rollouts, dtype=torch.long))
        rollouts[task] = one._replace(chunks=[copies])
    engine, size = Engine(Accelerator(cpu=True), policy), recipe.batch.micro_batch
    cases = ControlCases(engine, policy, parameters, recipe.objective, size=size)
    assert [one.found for one in cases.run(rollouts)] == pytest.approx([1.0, -1.0, 0.5], abs=1e-4)


def test_every_half_and_every_picture_comes_once(pairs: list[Pair]) -> None:
    again = msgspec.structs.replace(pairs[0], id="again", generation=pairs[1].generation)
    other = msgspec.structs.replace(pairs[2].understanding, id="other", question="Is it?")
    picture = msgspec.structs.replace(
        pairs[2], id="picture", understanding=other, generation=pairs[3].generation
    )
    half = msgspec.structs.replace(pairs[4], id="half", generation=None)
    for seed in range(4):
        found = list(distinct_pairs([*pairs, again, picture, half], seed))
        halves = [(pair.understanding.id, pair.generation.id) for pair in found]
        pictures = [pair.understanding.image for pair in found]
        assert all(len(set(one)) == len(found) for one in (*zip(*halves, strict=True), pictures))
        assert len(found) >= COUNT - 1


def test_a_projection_is_near_and_says_how_near(
    untrained: Path, folder: Path, tmp_path: Path, whole: tuple[Path, MatrixSummary]
) -> None:
    summary = run(job(untrained, folder, tmp_path / "out", places=2048))
    said = summary.projection.error[ALL]
    off = cosines(tmp_path / "out") - cosines(whole[0])
    assert 0 < said < 0.03
    assert float(np.sqrt(np.mean(off**2))) < 3 * said
    assert max(summary.projection.kept.values()) == 2048


def test_a_measurement_goes_on_where_it_was_stopped(
    untrained: Path,
    folder: Path,
    tmp_path: Path,
    whole: tuple[Path, MatrixSummary],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = job(untrained, folder, tmp_path / "out")
    measured = HalfGradients.measure
    calls = []

    def stopped(self: HalfGradients, pairs: Sequence[Pair], task: str) -> Any:
        calls.append(len(pairs))
        for number, one in enumerate(measured(self, pairs, task)):
            if len(calls) == 2 and number == 0:
                raise KeyboardInterrupt
            yield one

    with monkeypatch.context() as patch:
        patch.setattr(HalfGradients, "measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(asked)
    file = tmp_path / "out" / "halves.jsonl"
    assert len(file.read_text().splitlines()) == 4
    file.write_bytes(file.read_bytes()[:-20])  # a kill tears the last line
    with pytest.raises(UserError, match="its seed is 0, now it is 1"):
        run(asked._replace(seed=1))
    run(asked)
    np.testing.assert_allclose(cosines(tmp_path / "out"), cosines(whole[0]), atol=2e-4)


def test_a_finished_matrix_is_read_again_and_corrected_with_another(
    untrained: Path, folder: Path, whole: tuple[Path, MatrixSummary], tmp_path: Path
) -> None:
    out, summary = whole
    before = (out / "halves.jsonl").read_bytes()
    other = tmp_path / "other"
    run(job(untrained, folder, other, seed=1))
    found = run(job(untrained, folder, out, beside=(other,)))
    assert (out / "halves.jsonl").read_bytes() == before, "nothing is measured again"
    names = [group.scenario for group in found.findings.groups]
    assert {"aligned", "other/aligned"} == set(names)
    assert found.findings.tests >= summary.findings.tests
    assert run(job(untrained, folder, out)).findings == summary.findings


def test_what_cannot_be_measured_is_refused(untrained: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="aligned has 6 pairs of two halves") as refused:
        run(job(untrained, folder, tmp_path / "out", size=9))
    assert refused.value.hint == "--matrix-pairs 6"
    with pytest.raises(UserError, match="unpaired has 0 pairs"):
        run(job(untrained, folder, tmp_path / "out", scenarios=("unpaired",)))


def test_a_control_that_is_off_stops_the_measurement(
    untrained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Projection.vectors

    def louder(self: Projection, gradients: Any) -> dict[str, torch.Tensor]:
        return {block: 1.1 * vector for block, vector in kept(self, gradients).items()}

    monkeypatch.setattr(Projection, "vectors", louder)
    with pytest.raises(UserError, match=r"its control 'planted' gives a cosine of 0\.60"):
        run(job(untrained, folder, tmp_path / "out"))
    assert not (tmp_path / "out" / "matrix.parquet").exists()
