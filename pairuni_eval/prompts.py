"""The wording that each big benchmark puts round a question.

In goes the question as the dataset holds it, out comes the text a model reads. The strings are
the official ones of the benchmarks' own repositories, to the character; other harnesses word
them otherwise, and a score can move by tens of points with them. What lmms-eval and VLMEvalKit's
class for Janus say instead stands in the second half, their defects included: no benchmark here
asks in those words, they are for comparison and for runs that must ask as another harness did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LETTER_SUFFIX = "Answer with the option's letter from the given choices directly."
WORD_SUFFIX = "Answer the question using a single word or phrase."
YES_NO_REQUEST = " Please answer yes or no."
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_IMAGE_NAME = re.compile(r"<image ([1-7])>")


def lettered(options: Sequence[str]) -> dict[str, str]:
    """The options by their letters, A first.

    Raises:
        ValueError: more than 26 options.
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options, but only {len(LETTERS)} letters")
    return dict(zip(LETTERS, options, strict=False))


def mmmu_prompt(question: str, options: Sequence[str]) -> str:
    """MMMU: lettered options, then the instruction; without options the open form.

    Source: MMMU-Benchmark/MMMU, `mmmu/configs/llava1.5.yaml` after YAML folding.

    Raises:
        ValueError: more than 26 options.
    """
    if not options:
        return f"{question}\n{WORD_SUFFIX}"
    lines = "".join(f"({letter}) {option}\n" for letter, option in lettered(options).items())
    return f"{question}\n{lines}\n{LETTER_SUFFIX}"


def mmmu_parts(prompt: str) -> tuple[str | int, ...]:
    """MMMU: the prompt with the number of each image before the first `<image n>` that names it.

    The texts joined are the prompt to the character, so that a name still says which image is
    meant where it comes again. Images that no name asks for are not there: in a few rows they
    belong to the explanation of the answer.
    """
    parts: list[str | int] = []
    shown: set[int] = set()
    start = 0
    for name in _IMAGE_NAME.finditer(prompt):
        number = int(name.group(1))
        if number in shown:
            continue
        shown.add(number)
        parts += [prompt[start : name.start()], number]
        start = name.start()
    return tuple(part for part in (*parts, prompt[start:]) if part != "")


def mmstar_prompt(question: str) -> str:
    """MMStar: the question holds its options already; the instruction follows.

    Source: MMStar-Benchmark/MMStar, evaluation scripts of the repository.
    """
    return f"{question}\n{LETTER_SUFFIX}"


def mme_prompt(question: str) -> str:
    """MME: the question as it is, for it ends with "Please answer yes or no.".

    Source: BradyFU/Awesome-Multimodal-Large-Language-Models, branch Evaluation.
    """
    return question


def pope_prompt(question: str) -> str:
    """POPE: the question and the one-word instruction of LLaVA's run.

    Source: haotian-liu/LLaVA, `llava_pope_test.jsonl`, with the scorer of RUCAIBox/POPE.
    """
    return f"{question}\n{WORD_SUFFIX}"


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
