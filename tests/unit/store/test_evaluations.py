"""The record of what a training measured: its plan, its lines, where its runs lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.store.evaluations import (
    EvaluationPlan,
    EvaluationRow,
    cut_evaluations,
    keep_evaluation,
    keep_plan,
    read_evaluations,
    read_plan,
    run_of,
    weights_after,
)


def plan(**changes: object) -> EvaluationPlan:
    return EvaluationPlan(**{"base": "tiny", "suite": "tiny-tuning", "every": 50, **changes})


def row(step: int, suite: str = "tiny-tuning") -> EvaluationRow:
    return EvaluationRow(step=step, suite=suite, weights="w", tiny=True, headlines=())


def test_when_an_evaluation_is_due() -> None:
    assert [done for done in range(121) if plan().due(done, 120)] == [0, 50, 100, 120]


def test_a_plan_is_kept_and_another_one_refused(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    keep_plan(tmp_path, plan(limit=4))
    keep_plan(tmp_path, plan(limit=4))
    assert read_plan(tmp_path) == plan(limit=4)
    with pytest.raises(UserError, match="its limit is 4, now it is 8") as failure:
        keep_plan(tmp_path, plan(limit=8))
    assert "--out" in failure.value.hint


@pytest.mark.parametrize(
    ("before", "now", "taken"),
    [(2, 3, True), (2, 0, True), (3, 2, False), (0, 2, False), (2, 2, True)],
)
def test_patience_may_grow(tmp_path: Path, before: int, now: int, taken: bool) -> None:
    """What the former number stopped goes on; nothing that was done is undone."""
    keep_plan(tmp_path, plan(patience=before))
    if taken:
        keep_plan(tmp_path, plan(patience=now))
        assert read_plan(tmp_path) == plan(patience=now)
        return
    with pytest.raises(UserError, match=f"its patience is {before}, now it is {now}"):
        keep_plan(tmp_path, plan(patience=now))


def test_a_plan_that_cannot_be_read_names_its_file(tmp_path: Path) -> None:
    keep_plan(tmp_path, plan())
    path = tmp_path / "evaluations/plan.json"
    path.write_text(path.read_text().replace("50", "0"))
    with pytest.raises(UserError, match=r"plan\.json: .*every"):
        read_plan(tmp_path)


def test_lines_are_cut_back_to_the_steps_that_are_done(tmp_path: Path) -> None:
    for step in (0, 50, 100):
        keep_evaluation(tmp_path, row(step))
    with (tmp_path / "evaluations.jsonl").open("ab") as file:
        file.write(b'{"step":150,"su')
    assert [one.step for one in read_evaluations(tmp_path)] == [0, 50, 100]
    cut_evaluations(tmp_path, 50)
    assert read_evaluations(tmp_path) == [row(0), row(50)]
    assert (tmp_path / "evaluations.jsonl").read_bytes().endswith(b"\n")


def test_weights_of_a_step(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-50").mkdir()
    found = [weights_after(tmp_path, plan(), step) for step in (0, 50, 100)]
    assert found == ["tiny", str(tmp_path / "checkpoint-50"), None]
    assert run_of(tmp_path, "tiny", 50) == tmp_path / "evaluations/tiny/step-50"
