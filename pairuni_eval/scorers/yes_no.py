"""Yes-or-no answers: POPE and MME, each by several rules.

POPE (official `evaluate.py`, equal to LLaVA's): the first sentence is cut into words; "No", "no" or
"not" among them means no, **everything else means yes**: an empty answer, "NO", "**No**" and "I
cannot tell" are all yes, so under this rule nothing is ever unparsed.
MME (official `calculation.py`): only the first four characters count; "Not really", "None" and
"snow" are no, "**Yes**" and "The answer is yes" are neither. Neither counts as wrong.
lmms-eval wants exactly yes or no for POPE: "Yes." is wrong for accuracy and at the same time absent
from precision and recall. VLMEvalKit looks for the word anywhere, in POPE and MME alike.
"""

from __future__ import annotations

import re

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.records import Status

MME_PERCEPTION: tuple[str, ...] = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
MME_COGNITION: tuple[str, ...] = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)


# POPE


def pope_label(text: str) -> str:
    """POPE's official reading: "no" if the first sentence has the word No, no or not, else "yes".

    Words are cut at single blanks and commas vanish, so that "No,dog" is one word and means yes.

    Source: AoiDragon/POPE, `evaluate.py`; haotian-liu/LLaVA, `llava/eval/eval_pope.py`.
    """
    words = text.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def lmms_pope_label(text: str) -> str | None:
    """lmms-eval's reading: the whole answer is yes or no, case and outer blanks ignored.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/pope/utils.py`.
    """
    said = text.lower().strip()
    return said if said in ("yes", "no") else None


_VLMEVALKIT_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"(?<!\d)\.(?!\d)")
_MOST_FULL_STOPS = 32  # upstream hands a regex flag over where the count belongs


def vlmevalkit_label(text: str) -> str | None:
    """VLMEvalKit's reading: one of the words yes and no occurs, the other does not.

    A punctuation mark next to a blank vanishes, any other becomes a blank ("no-one" says no).

    Source: open-compass/VLMEvalKit, `YOrN_Extraction` and `process_punctuation`.
    """
    said = text.lower()
    glue_all = bool(_COMMA_IN_NUMBER.search(said))
    cleaned = said
    for mark in _VLMEVALKIT_MARKS:
        beside_blank = f"{mark} " in said or f" {mark}" in said
        cleaned = cleaned.replace(mark, "" if beside_blank or glue_all else " ")
    words = _FULL_STOP.sub("", cleaned, count=_MOST_FULL_STOPS).split()
    yes, no = "yes" in words, "no" in words
    if yes == no:
        return None
    return "yes" if yes else "no"


def pope_marks(text: str, answer: str, protocol: str) -> list[MetricValue]:
    """Grade one POPE answer: `correct`, and `said_yes` for F1 and its kin.

    Under `lmms-eval` an answer that is not exactly yes or no is wrong for accuracy, yet it is in
    none of the counts behind F1: `correct` is 0 while `said_yes` is unparsed.

    Raises:
        ValueError: a protocol other than `official`, `lmms-eval` and `vlmevalkit`.
    """
    if protocol not in _POPE_READERS:
        raise ValueError(f"unknown POPE protocol {protocol!r}")
    label = _POPE_READERS[protocol](text)
    if label is not None:
        right = label == answer.strip().lower()
        return [
            MetricValue("correct", float(right), verdict=label),
            MetricValue("said_yes", float(label == "yes"), verdict=label),
        ]
    unread = MetricValue("said_yes", None, Status.UNPARSED, "neither yes nor no")
    if protocol == "lmms-eval":
        return [MetricValue("correct", 0.0, verdict="not exactly yes or no"), unread]
    return [MetricValue("correct", None, Status.UNPARSED, "neither yes nor no"), unread]


_POPE_READERS = {
    "official": pope_label,
    "lmms-eval": lmms_pope_label,
    "vlmevalkit": vlmevalkit_label,
}


# MME


def mme_label(text: str) -> str | None:
    """MME's official reading of the first four characters; yes is looked for first.

    Source: BradyFU/Awesome-Multimodal-Large-Language-Models, branch Evaluation, `calculation.py`.
    """
    head = text.lower()[:4]
    return next((word for word in ("yes", "no") if word in head), None)


def lmms_mme_label(text: str) -> str | None:
    """lmms-eval's reading: without outer blanks and full stops, and a lone y or n will do.

    Source: EvolvingLMMs-Lab/lmms-eval 0.7.3, `tasks/mme/utils.py`.
    """
    said = text.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(said) or mme_label(said)


def mme_marks(text: str, answer: str, protocol: str) -> list[MetricValue]:
    """Grade one MME answer: `correct`, unparsed where the rule reads neither yes nor no.

    Raises:
        ValueError: a protocol other than `official`, `lmms-eval` and `vlmevalkit`.
    """
    if protocol not in _MME_READERS:
        raise ValueError(f"unknown MME protocol {protocol!r}")
    label = _MME_READERS[protocol](text)
    if label is None:
        return [MetricValue("correct", None, Status.UNPARSED, "neither yes nor no")]
    return [MetricValue("correct", float(label == answer.strip().lower()), verdict=label)]


_MME_READERS = {
    "official": mme_label,
    "lmms-eval": lmms_mme_label,
    "vlmevalkit": vlmevalkit_label,
}
