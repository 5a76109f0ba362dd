"""Our rules against recorded official scores: every case of every file in the golden folder.

`rules/NAME.py` turns the recorded inputs of benchmark NAME into calls of ours. Status: `ok` must
agree, floats to 1e-9 unless a module says otherwise; `raises` must raise the recorded exception;
`random` must be seen as "no answer" (None), for official code draws a number there; `loops` must
come back, as "no answer" too, for official code never does.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from parity.conftest import rules_for
from parity.rules.form import Given, same


def agree(ours: Any, theirs: Any, tolerance: float = 1e-9) -> bool:
    """Equal values; floats to a tolerance, recorded sets and non-finite numbers as meant."""
    if isinstance(theirs, dict) and set(theirs) == {"__float__"}:
        theirs = float(theirs["__float__"])
    if isinstance(theirs, dict) and set(theirs) == {"set"}:
        return _as_set(ours["set"]) == _as_set(theirs["set"])
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return set(ours) == set(theirs) and all(
            agree(ours[key], theirs[key], tolerance) for key in theirs
        )
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(ours) == len(theirs) and all(
            agree(mine, other, tolerance) for mine, other in zip(ours, theirs, strict=True)
        )
    if isinstance(theirs, float) and isinstance(ours, int | float):
        both_nan = math.isnan(ours) and math.isnan(theirs)
        return (
            both_nan or ours == theirs or math.isclose(ours, theirs, rel_tol=0, abs_tol=tolerance)
        )
    return type(ours) is type(theirs) and ours == theirs


def _as_set(values: list[Any]) -> set[str]:
    plain = [
        float(v["__float__"]) if isinstance(v, dict) and "__float__" in v else v for v in values
    ]
    return {repr(float(v)) if isinstance(v, int | float) else repr(v) for v in plain}


def _plain(value: Any) -> Any:
    """Recorded numbers inside an input that have no JSON form."""
    if isinstance(value, dict):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def test_agrees_with_the_recorded_official_score(case: Given, golden: Path) -> None:
    module, function = rules_for(case["benchmark"]), case["fn"]
    assert module is not None, f"no rules for the benchmark '{case['benchmark']}'"
    assert function in module.RULES, f"no rule for {case['benchmark']}/{function}"
    rule = module.RULES[function]
    given = _plain(case["input"])
    if case["status"] == "raises":
        with pytest.raises((Exception, SystemExit)) as caught:
            rule(given, golden)
        assert type(caught.value).__name__ == case["expected"]["exception"]
        return
    ours = rule(given, golden)
    if case["status"] in ("random", "loops"):
        assert ours is None, "official code guesses or hangs here; ours must find no answer"
        return
    assert case["status"] == "ok", f"unknown status '{case['status']}'"
    read_theirs, read_ours = getattr(module, "FORMS", {}).get(function, (same, same))
    tolerance = getattr(module, "TOLERANCES", {}).get(function, 1e-9)
    assert agree(read_ours(ours), read_theirs(case["expected"]), tolerance), (
        f"ours {ours!r}, official {case['expected']!r}"
    )


def test_agrees_with_other_harnesses(told: Given, golden: Path) -> None:
    rules = rules_for(told["benchmark"]).OTHERS[told["fn"]]
    for name in rules.keys() & told.get("also", {}).keys():
        ours, theirs = rules[name](told["input"], golden), told["also"][name]
        if isinstance(theirs, dict):
            theirs = {key: theirs[key] for key in ours}
        assert agree(ours, theirs), f"{name}: ours {ours!r}, theirs {theirs!r}"


def test_recorded_scores_are_at_hand(golden: Path) -> None:
    assert any(golden.glob("*.jsonl"))
