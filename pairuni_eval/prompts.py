"""The wording that each big benchmark puts round a question.

In goes the question as the dataset holds it, out comes the text a model reads. The strings are
the official ones of the benchmarks' own repositories, to the character; other harnesses word
them otherwise, and a score can move by tens of points with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
