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
from collections.abc import Iterable, Sequence
from typing import NamedTuple

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


class Confusion(NamedTuple):
    """Counts of a yes/no test, yes being the positive class.

    The ratios are plain divisions: like upstream they raise ZeroDivisionError when their
    denominator is empty, for such a number does not exist.
    """

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return (self.tp + self.tn) / sum(self)

    @property
    def precision(self) -> float:
        """Share of right ones among the yes answers."""
        return float(self.tp) / float(self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the yes labels that were found."""
        return float(self.tp) / float(self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def confusion(labels: Iterable[str], said: Iterable[str]) -> Confusion:
    """Count pairs of gold label and answer, both "yes" or "no"; stops at the shorter of the two."""
    pairs = list(zip(labels, said, strict=False))
    return Confusion(
        tp=pairs.count(("yes", "yes")),
        fp=pairs.count(("no", "yes")),
        tn=pairs.count(("no", "no")),
        fn=pairs.count(("yes", "no")),
    )


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


class MmeMetric(NamedTuple):
    """What the official tool counts over answers that are yes, no or "other" (neither).

    Attributes:
        tp: Yes for yes; `fn` no for yes, `tn` no for no, `fp` yes for no.
        precision: Right ones among the yes answers, 0 where there is none.
        recall: Found ones among the readable rows whose answer is yes, 0 where there is none.
        other: Answers that are neither; they are in no count, but wrong for `accuracy`.
    """

    tp: int
    fn: int
    tn: int
    fp: int
    precision: float
    recall: float
    other: int
    accuracy: float


def mme_metric(golds: Sequence[str], said: Sequence[str]) -> MmeMetric:
    """The official `compute_metric`.

    Raises:
        AssertionError: if there are not as many golds as answers, as upstream.
        KeyError: for a label other than yes, no and other, as upstream.
        ValueError: without a single readable answer, as upstream on today's scikit-learn. (The
            benchmarks do not come this way: there such answers are wrong.)
    """
    assert len(golds) == len(said), f"{len(golds)} gold answers, {len(said)} answers"
    for label in (*golds, *said):
        if label not in _MME_LABELS:
            raise KeyError(label)
    read = [pair for pair in zip(golds, said, strict=True) if pair[1] != _OTHER]
    if not read:
        raise ValueError(f"none of {len(said)} answers is yes or no")
    counts = confusion((gold for gold, _ in read), (label for _, label in read))
    yes_said = sum(label == "yes" for _, label in read)
    yes_wanted = counts.tp + counts.fn
    return MmeMetric(
        tp=counts.tp,
        fn=counts.fn,
        tn=counts.tn,
        fp=counts.fp,
        precision=counts.tp / yes_said if yes_said else 0.0,
        recall=counts.tp / yes_wanted if yes_wanted else 0.0,
        other=len(said) - len(read),
        accuracy=sum(map(str.__eq__, golds, said)) / len(golds),
    )


_OTHER = "other"
_MME_LABELS = frozenset({"yes", "no", _OTHER})


class MmeRow(NamedTuple):
    """A line of MME's result files."""

    task: str
    image: str
    answer: str
    prediction: str


class MmeTable(NamedTuple):
    """Scores by task, each in [0, 200], and their sums."""

    perception: dict[str, float]
    cognition: dict[str, float]

    @property
    def totals(self) -> tuple[float, float]:
        """Perception (at most 2000) and cognition (at most 800)."""
        return sum(self.perception.values()), sum(self.cognition.values())


def mme_table(rows: Sequence[MmeRow]) -> MmeTable:
    """The official table: 100 x accuracy + 100 x share of images with both questions right.

    Images are **consecutive pairs of lines** of a task, as in the official tool, whatever their
    names; shuffled rows give another number. Tasks without rows are not in the table.

    Raises:
        AssertionError: for an odd number of lines, or a gold answer that is not exactly yes or no,
            as upstream.
        ValueError: for a task without a single readable answer, or a prediction that breaks its
            line in two or has a tab, as upstream.
    """
    lines: dict[str, list[MmeRow]] = {}
    for row in rows:
        lines.setdefault(row.task, []).append(row)
    return MmeTable(
        {task: _mme_task(lines[task]) for task in MME_PERCEPTION if task in lines},
        {task: _mme_task(lines[task]) for task in MME_COGNITION if task in lines},
    )


def _mme_task(rows: Sequence[MmeRow]) -> float:
    """A task's score in [0, 200] from its lines in order, two an image."""
    golds: list[str] = []
    said: list[str] = []
    for place, row in enumerate(rows):
        assert place % 2 or place + 1 < len(rows), f"{row.image} has one line, not two"
        if any(mark in row.prediction for mark in "\t\r\n"):
            raise ValueError(f"the prediction for {row.image} is more than one field")
        gold = row.answer.lower()
        assert gold in ("yes", "no"), f"gold answer {row.answer!r} of {row.image}"
        golds.append(gold)
        said.append(mme_label(row.prediction) or _OTHER)
    right = [gold == label for gold, label in zip(golds, said, strict=True)]
    pairs = [first and second for first, second in zip(right[::2], right[1::2], strict=True)]
    return 100 * mme_metric(golds, said).accuracy + 100 * sum(pairs) / len(pairs)
