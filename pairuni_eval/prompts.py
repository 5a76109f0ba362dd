"""The wording that each big benchmark puts round a question.

In goes the question as the dataset holds it, out comes the text a model reads. The strings are
the official ones of the benchmarks' own repositories, to the character; other harnesses word
them otherwise, and a score can move by tens of points with them.
"""

from __future__ import annotations

from collections.abc import Sequence

LETTER_SUFFIX = "Answer with the option's letter from the given choices directly."
WORD_SUFFIX = "Answer the question using a single word or phrase."


def mmmu_prompt(question: str, options: Sequence[str]) -> str:
    """MMMU: lettered options, then the instruction; without options the open form.

    Source: MMMU-Benchmark/MMMU, `mmmu/configs/llava1.5.yaml` after YAML folding.

    Raises:
        ValueError: more than 26 options.
    """
    if not options:
        return f"{question}\n{WORD_SUFFIX}"
    if len(options) > 26:
        raise ValueError(f"{len(options)} options, but only 26 letters")
    lines = "".join(f"({chr(65 + i)}) {option}\n" for i, option in enumerate(options))
    return f"{question}\n{lines}\n{LETTER_SUFFIX}"


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
