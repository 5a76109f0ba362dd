"""The tables and summaries that official tools print at the end, as reference for ours.

The benchmarks' cards make these numbers by metrics with intervals; the functions here make them as
upstream's scripts do, out of verdicts that our rules give, and recorded official output holds them
to it. HPSv2 (`evaluation.py`): a style is the mean of the means of consecutive blocks of 80 images,
its deviation that of the block means. Preference sets (`train.py`): a tie in either ranking is
never an inversion, a tie in the scores is an error of pairwise accuracy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import PurePosixPath
from statistics import fmean, pstdev
from typing import NamedTuple

from pairuni_eval.scorers.mmmu_subjects import MMMU_DISCIPLINES, mmmu_subject
from pairuni_eval.scorers.yes_no import MME_COGNITION, MME_PERCEPTION, mme_label
from pairuni_eval.stats.official_means import BLOCK

# Yes and no


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


_OTHER = "other"


_MME_LABELS = frozenset({"yes", "no", _OTHER})


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


# MMMU


class SubjectAccuracy(NamedTuple):
    """Accuracy over `rows` rows; 0 where there is none."""

    accuracy: float
    rows: int


def pooled(tallies: Iterable[SubjectAccuracy]) -> SubjectAccuracy:
    """The accuracy over all rows of several tallies (official `calculate_ins_level_acc`)."""
    held = list(tallies)
    rows = sum(tally.rows for tally in held)
    total = sum(tally.accuracy * tally.rows for tally in held)
    return SubjectAccuracy(total / rows if rows else 0, rows)


def mmmu_table(right: Mapping[str, bool]) -> dict[str, SubjectAccuracy]:
    """Accuracy by subject, by discipline ("Overall-NAME") and overall ("Overall").

    As `main_eval_only.py` prints it before rounding to three decimals: only the rows that were
    answered count, subjects without any are not in the table, rows of no known subject neither.

    Args:
        right: Whether the answer is right, by the row's id.
    """
    by_subject: dict[str, list[bool]] = {}
    for row, value in right.items():
        by_subject.setdefault(mmmu_subject(row), []).append(value)
    tallies = {
        name: SubjectAccuracy(sum(got) / len(got), len(got)) for name, got in by_subject.items()
    }
    table: dict[str, SubjectAccuracy] = {}
    for discipline, subjects in MMMU_DISCIPLINES.items():
        inside = {name: tallies[name] for name in subjects if name in tallies}
        table |= {f"Overall-{discipline}": pooled(inside.values())} | inside
    known = sorted(name for subjects in MMMU_DISCIPLINES.values() for name in subjects)
    return table | {"Overall": pooled(tallies[name] for name in known if name in tallies)}


# GenEval


def is_sample_file(path: str) -> bool:
    """Whether the official script grades a file, given relative to the image folder.

    The folder must be all digits; the name must begin with digits and ".png", whatever follows.
    """
    parts = PurePosixPath(path).parts
    return (
        len(parts) == 3
        and parts[0].isdigit()
        and parts[1] == "samples"
        and re.match(r"\d+\.png", parts[2]) is not None
    )


class Graded(NamedTuple):
    """One graded picture: its task, what identifies its prompt, and the verdict."""

    tag: str
    prompt: str
    correct: bool


class Summary(NamedTuple):
    """The figures of GenEval's `summary_scores.py`; shares in [0, 1].

    Attributes:
        tasks: Right and all pictures per task, in order of appearance.
        overall: Mean of the task means, over the tasks that occur.
    """

    images: int
    prompts: int
    image_share: float
    prompt_share: float
    tasks: dict[str, tuple[int, int]]
    overall: float


def summarize(graded: Iterable[Graded]) -> Summary:
    """Add up verdicts as upstream does: a prompt counts when any of its pictures is right.

    Raises:
        ZeroDivisionError: for no picture.
    """
    rows = list(graded)
    prompts: dict[str, bool] = {}
    tasks: dict[str, tuple[int, int]] = {}
    for row in rows:
        prompts[row.prompt] = prompts.get(row.prompt, False) or row.correct
        right, total = tasks.get(row.tag, (0, 0))
        tasks[row.tag] = (right + row.correct, total + 1)
    return Summary(
        images=len(rows),
        prompts=len(prompts),
        image_share=sum(row.correct for row in rows) / len(rows),
        prompt_share=sum(prompts.values()) / len(prompts),
        tasks=tasks,
        overall=sum(right / total for right, total in tasks.values()) / len(tasks),
    )


# HPSv2


class StyleScore(NamedTuple):
    """A style's score and how much its blocks differ; NaN without images."""

    mean: float
    deviation: float


def block_means(scores: Sequence[float]) -> list[float]:
    """The mean of every consecutive block of 80 scores; the last block may be shorter."""
    return [fmean(scores[i : i + BLOCK]) for i in range(0, len(scores), BLOCK)]


def style_score(scores: Sequence[float]) -> StyleScore:
    """Mean and population standard deviation of the block means.

    Source: tgxs002/HPSv2, `hpsv2/evaluation.py:evaluate_benchmark`.
    """
    means = block_means(scores)
    if not means:
        return StyleScore(float("nan"), float("nan"))
    return StyleScore(fmean(means), pstdev(means))


def inversion_score(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of pairs that two rankings do not order contrariwise, 0 to 1.

    Source: tgxs002/HPSv2, `hpsv2/src/training/train.py:inversion_score`.

    Raises:
        ValueError: rankings of different lengths.
        ZeroDivisionError: fewer than two items.
    """
    pairs = list(combinations(zip(first, second, strict=True), 2))
    inverted = sum((a - b) * (c - d) < 0 for (a, c), (b, d) in pairs)
    return 1 - inverted / len(pairs)


def pairwise_accuracy(scores: Sequence[float], ranks: Sequence[float]) -> float:
    """The share of pairs with different ranks whose better one (the lower rank) scores higher.

    Source: tgxs002/HPSv2, `hpsv2/src/training/train.py:calc_ImageReward`.

    Raises:
        ZeroDivisionError: no two items have different ranks.
    """
    pairs = [
        (first, second)
        for first, second in combinations(range(len(ranks)), 2)
        if ranks[first] != ranks[second]
    ]
    right = sum((scores[a] - scores[b]) * (ranks[a] - ranks[b]) < 0 for a, b in pairs)
    return right / len(pairs)


def rank_of(scores: Sequence[float]) -> list[int]:
    """The place of every item when the highest score comes first, from 0.

    Equal scores keep their order; upstream leaves it to torch's sort.
    """
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    places = [0] * len(scores)
    for place, item in enumerate(order):
        places[item] = place
    return places


def ranking_accuracy(
    scores: Sequence[Sequence[float]], human_ranks: Sequence[Sequence[float]]
) -> float:
    """Mean inversion score between the model's and the human ranking, prompt by prompt.

    Source: tgxs002/HPSv2, `hpsv2/evaluation.py:evaluate_rank`.

    Raises:
        ValueError: a prompt whose two rankings differ in length.
    """
    return fmean(
        inversion_score(rank_of(mine), human)
        for mine, human in zip(scores, human_ranks, strict=True)
    )


# ImgEdit


def imgedit_type_means(scores: Mapping[str, float], types: Mapping[str, str]) -> dict[str, float]:
    """Mean score per edit type, rounded to two decimals; keys without a type are left out.

    The leaderboard's overall is the mean of these.

    Source: PKU-YuanGroup/ImgEdit, `Benchmark/Basic/step2_typescore.py`.
    """
    groups: dict[str, list[float]] = {}
    for key, score in scores.items():
        if key in types:
            groups.setdefault(types[key], []).append(score)
    return {name: round(sum(group) / len(group), 2) for name, group in groups.items()}
