"""What `--plan` says beside its table."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pairuni_eval.runner.estimate import WorkEstimate, estimate_table, notes


def printed(*estimates: WorkEstimate) -> list[list[str]]:
    console = Console(file=StringIO(), width=200)
    console.print(estimate_table(estimates))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_time_and_money_stand_by_benchmark_and_in_all() -> None:
    pope = WorkEstimate("pope", 8_984, warm_up=16, seconds=130.4)
    wise = WorkEstimate("wise", 984, 16, 61.0, judge_calls=1_000, cost=2.5, priced=True)
    edit = WorkEstimate("imgedit", 700, judge_calls=737, cost=1.0, priced=True)
    assert printed(pope, wise, edit) == [
        ["pope", "8984", "2:10", "0", "-"],
        ["wise", "984", "1:01", "1000", "2.50"],
        ["imgedit", "700", "-", "737", "1.00"],
        ["in all", "10668", "3:11", "1737", "3.50"],
    ]
    assert notes([pope, wise, edit]) == []


def test_a_cost_that_is_not_known_is_not_zero() -> None:
    wise = WorkEstimate("wise", 984, 16, 61.0, judge_calls=1_000, cost=None, priced=True)
    edit = WorkEstimate("imgedit", 700, judge_calls=737, cost=1.0, priced=True)
    assert [row[-1] for row in printed(wise, edit)] == ["-", "1.00", "-"]
    (note,) = notes([wise, edit])
    assert "judging wise costs is not known" in note


def test_a_warm_up_that_was_everything_is_said() -> None:
    over = WorkEstimate("pope", 0, warm_up=4, seconds=0.0)
    left = WorkEstimate("mme", 8, warm_up=4, seconds=3.0)
    assert notes([over]) == ["The warm-up was everything: all outputs are made, grading is left."]
    (note,) = notes([over, left])
    assert note == "Of pope the warm-up was everything: no outputs are left."
    assert notes([left]) == []
    assert notes([WorkEstimate("pope", 0)]) == []
