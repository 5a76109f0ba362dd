"""What a run writes, and what is left of it when the run goes on from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.records import GradientRow
from pairuni_train.checkpoints import claim, last_checkpoint
from pairuni_train.gradient_probe.capture import Look
from pairuni_train.gradient_probe.gram import ALL, BlockGrams, Gram
from pairuni_train.grpo.trainer import Stepped
from pairuni_train.journal import Journal
from pairuni_train.progress import seconds_of, words_of


def grams(ab: float) -> dict[str, BlockGrams]:
    whole = Gram(4.0, ab, 1.0)
    return {ALL: BlockGrams(whole, {"und": Gram(1.0, 0.5, 1.0), "gen": Gram(1.0, 0.0, 0.0)})}


def stepped(step: int, *, looked: bool = False) -> Stepped:
    look = Look(step, grams(1.0), grams(2.0), {"und": 0.5, "gen": 0.25}, 8) if looked else None
    return Stepped(step, {"loss": step / 2}, {"update": 0.1}, look)


def test_a_look_is_a_row_for_each_block(tmp_path: Path) -> None:
    Journal(tmp_path, "pairuni").write(stepped(3, looked=True))
    lines = (tmp_path / "gradients.jsonl").read_bytes()
    raw, scaled = msgspec.json.Decoder(GradientRow).decode_lines(lines)
    assert (raw.scenario, raw.step, raw.block, raw.rows) == ("pairuni", 3, "all", 8)
    assert (raw.tasks, scaled.tasks) == ((4.0, 1.0, 1.0), (4.0, 2.0, 1.0))
    assert (raw.preconditioned, scaled.preconditioned) == (False, True)
    assert raw.und_halves == (1.0, 0.5, 1.0)
    assert raw.gen_halves is None, "its second half had no gradient"
    assert (raw.und_live, raw.gen_live) == (0.5, 0.25)


def test_a_journal_is_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "pairuni")
    assert journal.cut_back(0) == []
    for step in range(5):
        journal.write(stepped(step, looked=step % 2 == 0))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 5, "lo')
    assert [one["step"] for one in journal.cut_back(3)] == [0, 1, 2]
    for name, count in (("metrics", 3), ("seconds", 3), ("gradients", 4)):
        kept = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").open()]
        assert len(kept) == count
        assert max(row["step"] for row in kept) == 2


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "nowhere") is None
    for name in ("checkpoint-9", "checkpoint-100", ".unfinished-200", "checkpoint-old"):
        (tmp_path / name).mkdir()
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, found.folder.name) == (100, "checkpoint-100")


def test_a_run_folder_belongs_to_one_run(tmp_path: Path) -> None:
    settings = {"recipe": {"lr": 1e-4, "steps": 3, "gen": {"weight": 1.0}}, "seed": 0}
    claim(tmp_path, settings)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    claim(tmp_path, settings)
    more = {**settings, "recipe": {**settings["recipe"], "steps": 5}}  # type: ignore[dict-item]
    claim(tmp_path, more)
    with pytest.raises(UserError, match=r"its recipe\.steps is 5, now it is 3"):
        claim(tmp_path, settings)
    other = {**more, "recipe": {"lr": 1e-4, "steps": 5, "gen": {"weight": 2.0}}}
    with pytest.raises(UserError, match=r"its recipe\.gen\.weight is 1\.0, now it is 2\.0"):
        claim(tmp_path, other)
    with pytest.raises(UserError, match="its seed is 0, now it is None"):
        claim(tmp_path, {"recipe": more["recipe"]})


def test_a_run_goes_on_whose_settings_bear_the_former_names(tmp_path: Path) -> None:
    former = {"recipe": {"name": "grpo"}, "backbone": {"steps": 3}, "seed": 0}
    (tmp_path / "settings.json").write_text(json.dumps(former))
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    now = {"arm": {"name": "grpo"}, "recipe": {"steps": 4}, "seed": 0}
    claim(tmp_path, now)
    assert json.loads((tmp_path / "settings.json").read_text()) == now
    probe = {"backbone": {"steps": 3}, "batches": 1}
    (tmp_path / "settings.json").write_text(json.dumps(probe))
    with pytest.raises(UserError, match=r"its recipe\.steps is 3, now it is 2"):
        claim(tmp_path, {"recipe": {"steps": 2}, "batches": 1})


def test_a_folder_without_a_step_belongs_to_the_next_run(tmp_path: Path) -> None:
    first, second = ({"recipe": {"lr": 1e-4, "steps": 3}, "seed": seed} for seed in (0, 1))
    claim(tmp_path, first)
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    claim(tmp_path, second)
    assert json.loads((tmp_path / "settings.json").read_text()) == second
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(UserError, match="its seed is 1, now it is 0"):
        claim(tmp_path, first)


def test_progress_says_what_a_person_watches() -> None:
    step = {
        "reward/und": 0.5,
        "live_groups/und": 0.25,
        "clip_ratio/low/und": 0.01,
        "clip_ratio/high/und": 0.02,
    }
    other = {**step, "reward/und": 1.0}
    assert words_of([step, other]) == "und reward 0.75 (25% live, 3.0% clipped)"
    assert seconds_of({"update": 0.125, "replay": 0.001}) == "update 0.12 s"
