"""What a run writes, and what is left of it when the run goes on from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.records import GradientRow
from pairuni_eval.store.training import checkpoint_steps
from pairuni_train.checkpoints import can_resume, last_checkpoint, open_run_dir, thin_out
from pairuni_train.grpo.trainer import StepResult
from pairuni_train.journal import TrainingJournal
from pairuni_train.progress import seconds_of, words_of


def stepped(step: int, *, looked: bool = False) -> StepResult:
    rows = [
        GradientRow(
            scenario="pairuni",
            step=step,
            block="all",
            preconditioned=preconditioned,
            tasks=(4.0, 1.0, 1.0),
            und_halves=None,
            gen_halves=None,
            und_live=0.5,
            gen_live=0.25,
            rows=8,
        )
        for preconditioned in (False, True)
    ]
    return StepResult(step, {"loss": step / 2}, {"update": 0.1}, rows if looked else [])


def test_a_journal_is_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    journal = TrainingJournal(tmp_path)
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


def test_what_is_spared_stays_beside_the_newest(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        (tmp_path / f"checkpoint-{step}" / "trainer").mkdir(parents=True)
    thin_out(tmp_path, 40, 2, spared={10})
    assert checkpoint_steps(tmp_path) == (10, 30, 40)
    having = [step for step in (10, 30, 40) if can_resume(tmp_path / f"checkpoint-{step}")]
    assert having == [40], "only the newest goes on"
    thin_out(tmp_path, 40, 1)
    assert checkpoint_steps(tmp_path) == (40,)


def test_a_run_folder_belongs_to_one_run(tmp_path: Path) -> None:
    settings = {"recipe": {"lr": 1e-4, "steps": 3, "gen": {"weight": 1.0}}, "seed": 0}
    open_run_dir(tmp_path, settings)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    open_run_dir(tmp_path, settings)
    more = {**settings, "recipe": {**settings["recipe"], "steps": 5}}  # type: ignore[dict-item]
    open_run_dir(tmp_path, more)
    with pytest.raises(UserError, match=r"its recipe\.steps is 5, now it is 3"):
        open_run_dir(tmp_path, settings)
    other = {**more, "recipe": {"lr": 1e-4, "steps": 5, "gen": {"weight": 2.0}}}
    with pytest.raises(UserError, match=r"its recipe\.gen\.weight is 1\.0, now it is 2\.0"):
        open_run_dir(tmp_path, other)
    with pytest.raises(UserError, match="its seed is 0, now it is None"):
        open_run_dir(tmp_path, {"recipe": more["recipe"]})


def test_a_run_goes_on_whose_settings_bear_the_former_names(tmp_path: Path) -> None:
    former = {"recipe": {"name": "grpo"}, "backbone": {"steps": 3}, "seed": 0}
    (tmp_path / "settings.json").write_text(json.dumps(former))
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    now = {"arm": {"name": "grpo"}, "recipe": {"steps": 4}, "seed": 0}
    open_run_dir(tmp_path, now)
    assert json.loads((tmp_path / "settings.json").read_text()) == now
    probe = {"backbone": {"steps": 3}, "batches": 1}
    (tmp_path / "settings.json").write_text(json.dumps(probe))
    with pytest.raises(UserError, match=r"its recipe\.steps is 3, now it is 2"):
        open_run_dir(tmp_path, {"recipe": {"steps": 2}, "batches": 1})


def test_a_folder_without_a_step_belongs_to_the_next_run(tmp_path: Path) -> None:
    first, second = ({"recipe": {"lr": 1e-4, "steps": 3}, "seed": seed} for seed in (0, 1))
    open_run_dir(tmp_path, first)
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    open_run_dir(tmp_path, second)
    assert json.loads((tmp_path / "settings.json").read_text()) == second
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(UserError, match="its seed is 1, now it is 0"):
        open_run_dir(tmp_path, first)


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
