"""What the options of watching ask for, and what is refused before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.store.evaluations import EvaluationPlan
from pairuni_train.watch_options import EVERY, watched

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("evaluate", "every", "limit", "held_out", "best_by", "patience")),
    **{"elsewhere": False, "data": None, "judge": None},
}


def test_nothing_is_watched_unless_asked() -> None:
    assert watched("tiny", **NOTHING) is None


def test_a_suite_is_all_that_it_takes() -> None:
    found = watched("tiny", **NOTHING | {"evaluate": "tiny-tuning"})
    assert found is not None
    assert found.plan == EvaluationPlan(base="tiny", suite="tiny-tuning", every=EVERY)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            {"patience": 2, "held_out": "tiny-heldout"},
            "--held-out, --patience: nothing is measured",
        ),
        ({"evaluate": "tiny-tunning"}, "Did you mean 'tiny-tuning'"),
        ({"evaluate": "tiny-tuning", "held_out": "tiny-held"}, "Did you mean 'tiny-heldout'"),
        (
            {"evaluate": "tiny-tuning", "best_by": "tiny-tuning-drawing"},
            "Did you mean 'tiny-tuning-drawings'",
        ),
        ({"evaluate": "smoke", "best_by": "edit"}, "Unknown metric to choose by 'edit'"),
        ({"evaluate": "smoke", "held_out": "tiny"}, "both hold tiny-geneval, tiny-pope"),
        ({"evaluate": "tiny", "elsewhere": True, "patience": 1}, "how fast the other process is"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as failure:
        watched("tiny", **NOTHING | asked)
    assert words in failure.value.message
