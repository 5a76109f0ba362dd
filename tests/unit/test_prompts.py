"""The wordings of the benchmarks, by example."""

from __future__ import annotations

import pytest

from pairuni_eval import prompts

LETTER = "Answer with the option's letter from the given choices directly."
WORD = "Answer the question using a single word or phrase."


def test_official_wordings() -> None:
    assert prompts.mmmu_prompt("Q?", ["x", "y"]) == f"Q?\n(A) x\n(B) y\n\n{LETTER}"
    assert prompts.mmmu_prompt("Q?", []) == f"Q?\n{WORD}"
    assert prompts.mmstar_prompt("Q?") == f"Q?\n{LETTER}"
    assert prompts.pope_prompt("Q?") == f"Q?\n{WORD}"
    assert prompts.mme_prompt("Q? Please answer yes or no.") == "Q? Please answer yes or no."


def test_there_are_only_26_letters() -> None:
    assert list(prompts.lettered(["x"] * 26))[-1] == "Z"
    with pytest.raises(ValueError, match="27 options"):
        prompts.mmmu_prompt("Q?", ["x"] * 27)
