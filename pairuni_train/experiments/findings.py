"""What a table shows, in sentences made from its verdicts, whatever they are.

For each arm that others are compared with: what the method in question is against it and on what,
then the other arms, those of which nothing can be told together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pairuni_eval.analysis.compare import Difference, Word
from pairuni_eval.report.text import typeset
from pairuni_train.experiments.table import Table

_NOTHING = "cannot tell, in any column"


class Answer(NamedTuple):
    """What one arm is against another; of the method also with figures, a sentence a column."""

    text: str
    figures: tuple[str, ...] = ()


class Findings(NamedTuple):
    """The sentences of a table.

    Attributes:
        answers: What the experiment shows.
        notes: What the verdicts do not cover, and what is not the paper's experiment.
    """

    answers: tuple[Answer, ...]
    notes: tuple[str, ...]


def find(table: Table) -> Findings:
    """Say what a table shows."""
    against = table.experiment.against
    answers = tuple(answer for other in against for answer in _answers(other, table))
    return Findings(answers, tuple(_notes(table)))


def _answers(other: str, table: Table) -> Iterator[Answer]:
    """The method's answer, then one for each arm that differs, and one for all the others."""
    method = table.experiment.method
    arms = (arm.name for arm in table.experiment.arms)
    spoken_of = [name for name in arms if table.experiment.compares(name, other)]
    silent: list[str] = []
    for name in sorted(spoken_of, key=lambda name: name != method):
        rows = table.compared.get((name, other), ())
        told = "; ".join(_told(rows))
        if rows and name == method:
            yield Answer(f"{name} against {other}: {told or _NOTHING}.", tuple(_figures(rows)))
        elif told:
            yield Answer(f"{name} against {other}: {told}.")
        elif rows:
            silent.append(name)
    if silent:
        yield Answer(f"{_listed(silent)} against {other}: {_NOTHING}.")


def _figures(rows: Sequence[Difference]) -> Iterator[str]:
    """Every whole benchmark, and the groups that got better or worse."""
    for row in rows:
        if row.group is None or row.word in (Word.BETTER, Word.WORSE):
            yield f"{typeset(row.sentence)}."


def _told(rows: Sequence[Difference]) -> Iterator[str]:
    """E.g. "better on tiny GenEval", "worse on counting (tiny GenEval)"."""
    for word in (Word.BETTER, Word.WORSE, Word.TIED):
        subjects = [row.subject for row in rows if row.word is word]
        if subjects:
            yield f"{word} on {_listed(subjects)}"
    open_ = [row.subject for row in rows if row.word is Word.CANNOT_TELL and row.group is None]
    if open_ and len(open_) < sum(row.group is None for row in rows):
        yield f"cannot tell on {_listed(open_)}"


def _notes(table: Table) -> Iterator[str]:
    missing, wanted = table.missing
    if missing:
        yield (
            f"PARTIAL: {missing} of {wanted} runs are not there. The command below goes on with "
            "them."
        )
    if table.few:
        trained = [row.name for row in table.rows if row.wanted]
        who = "Every trained arm" if list(table.few) == trained else _listed(table.few)
        yield (
            f"{who}: fewer than three training seeds. What is said holds for these checkpoints, "
            "not for training again; --seeds 3 says more."
        )
    yield from table.experiment.notes


def _listed(words: Sequence[str]) -> str:
    """E.g. "A, B and C"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
