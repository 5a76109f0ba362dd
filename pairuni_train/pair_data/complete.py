"""The missing half of an aligned pair: written by a model, then checked by a second call.

An understanding row gets a prompt C that carries every visual detail its question needs; a
generation row gets a question and an answer about what its prompt names. The verifier sees the
given half, the new one and the image, and rejects contradictions and what is not there. Rejects are
counted by reason. With several `attempts`, the next row of the same cluster is tried; the paper
tries the medoid only.

A row whose completer could not be asked (no reply, budget spent) is open: it is neither accepted
nor rejected, and the same command asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from pairuni_train.pair_data.record import Generation, Half, Provenance, Side, Understanding
from pairuni_train.pair_data.rows import Reject

NOBODY = "nobody"  # the verifier of a half that was not checked
_BATCH = 64  # rows that are completed together


class NewPrompt(msgspec.Struct, frozen=True, tag=True):
    """What an understanding row lacks."""

    prompt: str


class NewQuestion(msgspec.Struct, frozen=True, tag=True):
    """What a generation row lacks; the question as the model reads it, options included."""

    question: str
    answer: str


class Draft(NamedTuple):
    """A half as written; `facts` are what a programmatic checker may know about it."""

    new: NewPrompt | NewQuestion
    facts: Mapping[str, Any] = {}


class Declined(NamedTuple):
    """No half was written, and asking again would not help; `detail` is for people."""

    reason: str
    detail: str = ""


class Unanswered(NamedTuple):
    """Nobody could be asked."""

    reason: str


class Verification(NamedTuple):
    """What the verifier says; `reason` is what it counts under, `detail` its own words."""

    sound: bool
    reason: str = ""
    detail: str = ""


class Completer(Protocol):
    """Writes and checks halves.

    Attributes:
        writer: Snapshot of who writes.
        verifier: Snapshot of who checks.
    """

    writer: str
    verifier: str

    @property
    def usage(self) -> str:
        """What was paid for so far, in words; empty where nothing costs anything."""
        ...

    def write(self, halves: Sequence[Half]) -> Sequence[Draft | Declined | Unanswered]:
        """The missing half of each row."""
        ...

    def verify(
        self, halves: Sequence[Half], drafts: Sequence[Draft]
    ) -> Sequence[Verification | Unanswered]:
        """Whether each new half agrees with its row."""
        ...


class RowRef(NamedTuple):
    """A row of one of the two stores."""

    side: Side
    number: int


class CompletedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row and its new half."""

    side: Side
    row: int
    new: NewPrompt | NewQuestion
    facts: dict[str, Any]
    provenance: Provenance


class CompletionTally(msgspec.Struct, kw_only=True):
    """What became of the rows that were tried.

    Attributes:
        written: Halves that a writer wrote.
        rejected: Rows without a pair by reason.
        open: Rows that nobody could be asked about, by reason.
    """

    tried: int = 0
    written: int = 0
    accepted: int = 0
    unverified: int = 0
    rejected: dict[str, int] = {}
    open: dict[str, int] = {}


class CompletionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The aligned pairs of a set of clusters, in the order of the clusters."""

    completions: tuple[CompletedRow, ...]
    tally: CompletionTally
    rejects: tuple[Reject, ...]
    empty_clusters: int = 0


def complete_clusters(
    clusters: Sequence[Sequence[RowRef]],
    read: Callable[[RowRef], Half],
    completer: Completer,
    *,
    verify: bool,
    wanted: int | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> CompletionResult:
    """One aligned pair per cluster, of the first of its rows that can be completed.

    Args:
        clusters: Rows to try, best first.
        read: Gives the half of a row, image included.
        completer: Writes and checks.
        verify: False takes every half that was written.
        wanted: Pairs to end with. If clusters are empty or give none, the next rows of the others
            make up for them, as far as they go; default: one per cluster at most.
        done: Called with a number of pairs that were made.
    """
    work = _ClusterWork(clusters, read, completer, verify, done)
    depth = max(map(len, clusters), default=0)
    ranked = [(place, rank) for rank in range(depth) for place in range(len(clusters))]
    ranked = [(place, rank) for place, rank in ranked if rank < len(clusters[place])]
    for rank in range(depth):
        work.try_out([one for one in ranked if one[1] == rank and one[0] not in work.settled])
    spare = [one for one in ranked if one not in work.tried]
    while spare and len(work.found) < (wanted or 0):
        short = (wanted or 0) - len(work.found)
        work.try_out(spare[:short])
        spare = spare[short:]
    return work.result()


def halves_of(completion: CompletedRow, half: Half) -> tuple[Understanding, Generation]:
    """Both halves of an aligned pair, from the given one and its completion."""
    common: dict[str, Any] = {
        "source": half.source,
        "licence": half.licence,
        "image": half.image,
        "facts": completion.facts,
    }
    if isinstance(half, Understanding):
        assert isinstance(completion.new, NewPrompt)
        new = Generation(id=f"{half.id}~prompt", prompt=completion.new.prompt, **common)
        return half, new
    assert isinstance(completion.new, NewQuestion)
    asked = completion.new
    return (
        Understanding(
            id=f"{half.id}~question", question=asked.question, answer=asked.answer, **common
        ),
        half,
    )


_Place = tuple[int, int]  # a cluster, and which of its rows


class _ClusterWork:
    """Tries rows of clusters in batches, and keeps count.

    `settled` are clusters that have a pair, or that wait for an answer; once a whole batch got no
    answer, nothing more is tried.
    """

    def __init__(
        self,
        clusters: Sequence[Sequence[RowRef]],
        read: Callable[[RowRef], Half],
        completer: Completer,
        verify: bool,
        done: Callable[[int], None],
    ) -> None:
        self._clusters, self._read, self._completer = clusters, read, completer
        self._verify, self._done = verify, done
        self._tally = CompletionTally()
        self._rejects: list[Reject] = []
        self._stuck = False
        self.found: dict[_Place, CompletedRow] = {}
        self.tried: set[_Place] = set()
        self.settled: set[int] = set()

    def try_out(self, places: Sequence[_Place]) -> None:
        """Complete the rows at some places."""
        for start in range(0, len(places), _BATCH):
            if self._stuck:
                return
            batch = places[start : start + _BATCH]
            outcomes = self._complete([self._clusters[place][rank] for place, rank in batch])
            self.tried.update(batch)
            for one, outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, Declined):
                    self.settled.add(one[0])
                if isinstance(outcome, CompletedRow):
                    self.found[one] = outcome
            self._done(sum(isinstance(outcome, CompletedRow) for outcome in outcomes))
            self._stuck = all(isinstance(outcome, Unanswered) for outcome in outcomes)

    def result(self) -> CompletionResult:
        """What was completed, in the order of the clusters."""
        return CompletionResult(
            completions=tuple(self.found[place] for place in sorted(self.found)),
            tally=self._tally,
            rejects=tuple(self._rejects),
        )

    def _complete(self, rows: Sequence[RowRef]) -> list[CompletedRow | Declined | Unanswered]:
        """Write and check one batch."""
        halves = [self._read(row) for row in rows]
        checked = list(self._completer.write(halves))
        drafts = {i: draft for i, draft in enumerate(checked) if isinstance(draft, Draft)}
        for i, finding in self._findings(halves, drafts).items():
            checked[i] = self._judged(drafts[i], finding)
        self._tally.tried += len(rows)
        self._tally.written += len(drafts)
        return [self._outcome(*one) for one in zip(rows, halves, checked, strict=True)]

    def _findings(
        self, halves: Sequence[Half], drafts: Mapping[int, Draft]
    ) -> dict[int, Verification | Unanswered]:
        if not self._verify:
            return {i: Verification(True) for i in drafts}
        found = self._completer.verify([halves[i] for i in drafts], list(drafts.values()))
        return dict(zip(drafts, found, strict=True))

    def _judged(
        self, draft: Draft, finding: Verification | Unanswered
    ) -> Draft | Declined | Unanswered:
        if isinstance(finding, Unanswered):
            return finding
        if finding.sound:
            return draft
        return Declined(f"verifier: {finding.reason}", finding.detail)

    def _outcome(
        self, row: RowRef, half: Half, one: Draft | Declined | Unanswered
    ) -> CompletedRow | Declined | Unanswered:
        if isinstance(one, Draft):
            return self._accepted(row, one)
        if isinstance(one, Unanswered):
            self._tally.open[one.reason] = self._tally.open.get(one.reason, 0) + 1
        else:
            reason = one.reason if one.reason.startswith("verifier: ") else f"writer: {one.reason}"
            self._tally.rejected[reason] = self._tally.rejected.get(reason, 0) + 1
            self._rejects.append(Reject(f"{half.source} {half.id}", reason, one.detail))
        return one

    def _accepted(self, row: RowRef, draft: Draft) -> CompletedRow:
        self._tally.accepted += 1
        self._tally.unverified += not self._verify
        provenance = Provenance(
            half="generation" if row.side == "understanding" else "understanding",
            writer=self._completer.writer,
            verifier=self._completer.verifier if self._verify else NOBODY,
        )
        return CompletedRow(
            side=row.side,
            row=row.number,
            new=draft.new,
            facts=dict(draft.facts),
            provenance=provenance,
        )
