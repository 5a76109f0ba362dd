"""The wordings of the benchmarks and of the other toolkits, by example."""

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
    for ask in (prompts.mmmu_prompt, prompts.lmms_mmmu_prompt):
        with pytest.raises(ValueError, match="27 options"):
            ask("Q?", ["x"] * 27)


def test_lmms_eval_wordings() -> None:
    asked = " Is it? Please answer yes or no. "
    assert prompts.lmms_mme_prompt(asked) == f"Is it?\n{WORD}"
    assert prompts.lmms_pope_prompt(asked) == f"Is it? Please answer yes or no.\n{WORD}"
    assert prompts.lmms_mmstar_prompt(asked) == f"Is it?\n{LETTER[:-1]}"
    assert prompts.lmms_mmmu_prompt("Q?", ["x", "y"]) == f"Q?\nA. x\nB. y\n\n{LETTER}"
    assert prompts.lmms_mmmu_prompt("Q?", []) == f"Q?\n\n{WORD}"


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("No image", ("No image",)),
        ("<image 1> Which?", (1, "Which?")),
        # Upstream sorts the images, whatever the order of their names.
        ("Compare <image 2> with <image 1>", ("Compare", 1, "with", 2, "")),
        # Upstream loses what stands between two namings of one image.
        ("See <image 1>. In <image 1>, how many?", ("See", 1, ", how many?")),
    ],
)
def test_lmms_eval_interleaves_with_its_defects(prompt: str, parts: tuple[str | int, ...]) -> None:
    assert prompts.lmms_mmmu_parts(prompt) == parts


def test_vlmevalkit_words_it_for_janus_after_the_images() -> None:
    ask = prompts.vlmevalkit_janus_prompt
    asked = "Is it? Please answer yes or no."
    assert ask("POPE", asked) == f"\nIs it?\n{WORD}"
    assert ask("MME", asked) == f"\n{asked}\n{WORD}"
    options = {"A": "x", "B": "y"}
    assert ask("MMMU_DEV_VAL", "Q?", options) == f"\nQ?\nA. x\nB. y\n\n{LETTER}"
    hinted = ask("MMStar", "Q?", options, hint="look")
    assert hinted == f"\nHint: look\nQ?\nA. x\nB. y\n\n{LETTER}"
    assert ask("MMMU_DEV_VAL", "Q?") == "\nQ?\nAnswer the question directly. "
    assert ask("MMVet", "Q?") == "\nQ?"
    assert prompts.vlmevalkit_janus_system("MMMU_DEV_VAL") == ""
    assert prompts.vlmevalkit_janus_system("MMVet").startswith("You are a helpful assistant.")
