"""What lmms-eval and VLMEvalKit's class for Janus say around a question, their defects included.

No benchmark here asks in those words. The recorded cases hold this reference to what the harnesses
say, and so tell in what the official wording of `pairuni_eval.prompts` differs from theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pairuni_eval.prompts import LETTER_SUFFIX, WORD_SUFFIX, YES_NO_REQUEST, lettered

_IMAGE_NAME = re.compile(r"<image ([1-7])>")

# lmms-eval 0.7.3

_LMMS_IMAGE = re.compile(r"<image (\d+)>")


def lmms_pope_prompt(question: str) -> str:
    """POPE in lmms-eval: the official wording round the stripped question.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/pope`.
    """
    return f"{question.strip()}\n{WORD_SUFFIX}"


def lmms_mme_prompt(question: str) -> str:
    """MME in lmms-eval: "Please answer yes or no." gives way to the one-word instruction.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/mme`.
    """
    return f"{question.strip().replace(YES_NO_REQUEST, '')}\n{WORD_SUFFIX}"


def lmms_mmstar_prompt(question: str) -> str:
    """MMStar in lmms-eval: no full stop at the end, and MME's request is cut out here as well.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/mmstar`.
    """
    return f"{question.strip().replace(YES_NO_REQUEST, '')}\n{LETTER_SUFFIX.removesuffix('.')}"


def lmms_mmmu_prompt(question: str, options: Sequence[str]) -> str:
    """MMMU in lmms-eval: `A. option` lines, and an empty line before either instruction.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/mmmu`.

    Raises:
        ValueError: more than 26 options.
    """
    if not options:
        return f"{question}\n\n{WORD_SUFFIX}"
    lines = "\n".join(f"{letter}. {option}" for letter, option in lettered(options).items())
    return f"{question}\n{lines}\n\n{LETTER_SUFFIX}"


def lmms_mmmu_images(prompt: str) -> tuple[int, ...]:
    """The images that lmms-eval hands over, by number: each once, sorted as text."""
    return tuple(int(number) for number in sorted(set(_LMMS_IMAGE.findall(prompt))))


def lmms_mmmu_parts(prompt: str) -> tuple[str | int, ...]:
    """MMMU as lmms-eval interleaves it for chat models: texts and numbers of images.

    Two departures from what the question says, both upstream's: images stand in sorted order
    whatever the order of their names, and a name that comes twice costs the text between.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/mmmu/utils.py`.
    """
    texts = [text.strip() for text in _IMAGE_NAME.sub("<image>", prompt).split("<image>")]
    parts: list[str | int] = []
    for place, number in enumerate(lmms_mmmu_images(prompt)):
        if place < len(texts) - 1 and texts[place]:
            parts.append(texts[place])
        parts.append(number)
    return (*parts, texts[-1])


# VLMEvalKit, class Janus: all images first, then one of these texts

_VLMEVALKIT_YES_NO = frozenset({"MME", "POPE", "HallusionBench", "AMBER", "VSR-zeroshot"})
_MMVET = "MMVet"


def vlmevalkit_janus_prompt(
    dataset: str,
    question: str,
    options: Mapping[str, str] | None = None,
    *,
    hint: str | None = None,
) -> str:
    """The text that VLMEvalKit puts after the images for Janus; it begins with a newline.

    Source: open-compass/VLMEvalKit, `vlmeval/vlm/janus.py`.

    Args:
        dataset: VLMEvalKit's name of the dataset; one that asks for neither yes and no nor MM-Vet
            is multiple choice.
        question: The question as its TSV file holds it.
        options: The options by letter; none makes the question an open one.
        hint: Its column `hint`.
    """
    if dataset == _MMVET:
        return f"\n{question}"
    if dataset in _VLMEVALKIT_YES_NO:
        asked = question.replace(YES_NO_REQUEST, "") if dataset == "POPE" else question
        return f"\n{asked}\n{WORD_SUFFIX}"
    lead = "\n" if hint is None else f"\nHint: {hint}\n"
    if not options:
        return f"{lead}{question}\nAnswer the question directly. "
    lines = "".join(f"{letter}. {option}\n" for letter, option in options.items())
    return f"{lead}{question}\n{lines}\n{LETTER_SUFFIX}"


def vlmevalkit_janus_system(dataset: str) -> str:
    """The system prompt that VLMEvalKit gives Janus: none but for MM-Vet.

    Source: open-compass/VLMEvalKit, `vlmeval/vlm/janus.py`.
    """
    if _MMVET not in dataset:
        return ""
    return (
        "You are a helpful assistant. Please answer truthfully and write out your thinking step "
        "by step to be sure you get the right answer."
    )
