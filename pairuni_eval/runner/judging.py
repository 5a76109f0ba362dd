"""Which judges a run asks, which samples the second judge sees, and what they still owe.

`--judge` stands in for the judge of every card: the name of a plugin, a judge file, or "none",
which leaves the rows that need a judge ungraded. The second judge sees a share of the samples of
every group that the headline is made of, always the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import structs

from pairuni_eval import catalog
from pairuni_eval.cards import Card
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import Judge, JudgeSetup
from pairuni_eval.judges.settings import Choice, read_choices
from pairuni_eval.judges.usage import Usage, tally
from pairuni_eval.records import Output, RunCard, Sample, Score
from pairuni_eval.seeds import seed_for
from pairuni_eval.store import layout
from pairuni_eval.store.json_lines import encode_lines
from pairuni_eval.store.read import StoredRun, read_bills
from pairuni_eval.store.rows import checked_line, read_rows
from pairuni_eval.store.write import write_record, write_whole

NONE = "none"  # as --judge names it


class Second(NamedTuple):
    """A judge that is asked again about a share of the samples, in (0, 1]."""

    judge: Judge
    share: float

    @property
    def words(self) -> str:
        """What the run card says of it."""
        return f"{self.judge.snapshot} on {self.share:g} of the samples"


class Judges(NamedTuple):
    """The judges of a run by benchmark; a benchmark that needs none has none."""

    first: dict[str, Judge]
    second: dict[str, Second]


def judge_plugins(judge: str | None, cards: Iterable[Card]) -> list[str]:
    """The names of the plugins that `load_judges` would load.

    Raises:
        UserError: for a bad judge file.
    """
    if judge == NONE:
        return []
    choices = [choice for choice in read_choices(judge) if choice is not None]
    specs = [card.judge for card in cards if card.judge is not None]
    return [choice.plugin or spec.name for spec in specs for choice in choices]


def load_judges(judge: str | None, cards: Iterable[Card], folder: Path) -> Judges:
    """Load the judges that the cards and `--judge` ask for.

    Raises:
        UserError: for an unknown judge, a bad judge file, a missing key.
    """
    judges = Judges({}, {})
    if judge == NONE:
        return judges
    first, second = read_choices(judge)
    for card in cards:
        if card.judge is None:
            continue
        judges.first[card.name] = _load(card, first, folder, second=False)
        if second is not None and second.share is not None:
            again = _load(card, second, folder, second=True)
            judges.second[card.name] = Second(again, second.share)
    return judges


def _load(card: Card, choice: Choice, folder: Path, *, second: bool) -> Judge:
    assert card.judge is not None
    name = choice.plugin or card.judge.name
    setup = JudgeSetup(card.judge, folder / layout.JUDGE, choice.options, choice.source, second)
    judge = catalog.load_plugin("judges", name).load(setup)
    if not isinstance(judge, Judge):
        raise UserError(
            f"The judge plugin '{name}' returned a {type(judge).__name__}, which is no Judge."
        )
    return judge


def sees_again(card: Card, samples: Sequence[Sample], share: float, seed: int) -> set[str]:
    """The uids of the samples that the second judge sees.

    Of every group of n samples those ceil(share n) whose hashes are the lowest; the groups are
    those of the headline metric of the default protocol, the whole benchmark if it has none.
    """
    rule = card.protocols[card.default_protocol]
    tag = rule.metric(rule.headline).by
    groups: dict[str, list[str]] = {}
    for sample in samples:
        groups.setdefault(sample.tags.get(tag, "") if tag else "", []).append(sample.uid)
    chosen: set[str] = set()
    for members in groups.values():
        members.sort(key=lambda uid: (seed_for(seed, uid, 0, "second judge"), uid))
        chosen.update(members[: math.ceil(share * len(members) - 1e-9)])
    return chosen


def with_mended_judges(run: Path, former: RunCard, now: RunCard) -> RunCard:
    """The former card with the judges of now, wherever those of before gave no verdict.

    A judge file that had to be mended before the endpoint answered at all makes another judge of
    it; as long as nothing in the folder rests on the old one, the run goes on with the new one.
    """
    benchmarks = dict(former.benchmarks)
    for name, part in former.benchmarks.items():
        asked = now.benchmarks.get(name)
        if asked is None:
            continue
        for field, again in (("judge", False), ("second_judge", True)):
            old, new = getattr(part, field), getattr(asked, field)
            if (
                None not in (old, new)
                and old != new
                and not _gave_verdicts(run, former, name, second=again)
            ):
                benchmarks[name] = structs.replace(benchmarks[name], **{field: new})
    return structs.replace(former, benchmarks=benchmarks)


def _gave_verdicts(run: Path, former: RunCard, benchmark: str, *, second: bool) -> bool:
    """Whether a stored score rests on a judge, or a reply of it was used."""
    mine = [
        bill
        for bill in read_bills(run)
        if bill.second is second and bill.protocol.rpartition("@")[0] == benchmark
    ]
    if any(receipt.replied and not receipt.open for bill in mine for receipt in bill.receipts):
        return True
    owed = {(bill.protocol, output) for bill in mine if bill.open for output in bill.outputs}
    return any(
        score.judge is not None
        and score.protocol.rpartition("@")[0] == benchmark
        and (score.protocol, score.output) not in owed
        for score in _stored_scores(run, former, layout.OPINIONS if second else "scores")
    )


def _stored_scores(run: Path, card: RunCard, name: str) -> list[Score]:
    """The scores of a run, complete or not, so far."""
    if (run / layout.COMPLETE).is_file():
        return StoredRun(run).records(name, Score)
    path = run / layout.ROWS / f"{name}-rank0.jsonl"
    return read_rows(path, Score, address=card.rows_address).rows if path.is_file() else []


def left_open(run: Path) -> Iterator[tuple[str, Usage]]:
    """The benchmarks whose judge left questions without a reply that asking again may bring."""
    bills = read_bills(run)
    for name in dict.fromkeys(bill.protocol.rpartition("@")[0] for bill in bills):
        usage = tally(bill for bill in bills if bill.protocol.rpartition("@")[0] == name)
        if usage.open:
            yield name, usage


def reopen(run: Path) -> bool:
    """Turn a complete run back into one that goes on, if its judge left questions open.

    The tables become rows again, without the scores of the outputs whose bill is open; the mark
    COMPLETE goes last, so a kill in between leaves a complete run.

    Returns:
        Whether the run goes on.
    """
    bills = [bill for bill in read_bills(run) if bill.open]
    if not bills:
        return False
    first, second = (
        {
            (bill.protocol, output)
            for bill in bills
            if bill.second is again
            for output in bill.outputs
        }
        for again in (False, True)
    )
    stored = StoredRun(run)
    tables: dict[str, Iterable[msgspec.Struct]] = {
        "samples": stored.records("samples", Sample),
        "outputs-rank0": stored.records("outputs", Output),
        "scores-rank0": _without(stored.records("scores", Score), first),
        f"{layout.OPINIONS}-rank0": _without(stored.records(layout.OPINIONS, Score), second),
    }
    for name, rows in tables.items():
        _restore(run, name, rows, None if stored.unchecked else stored.card.rows_address)
    planned = {name: one for name, one in stored.seal.files.items() if name != layout.FIGURES}
    if not stored.unchecked:
        write_record(run / layout.ROWS / layout.PLANNED, planned)
    (run / layout.COMPLETE).unlink()
    return True


def _without(scores: Iterable[Score], left_out: set[tuple[str, str]]) -> list[Score]:
    return [score for score in scores if (score.protocol, score.output) not in left_out]


def _restore(run: Path, name: str, rows: Iterable[msgspec.Struct], address: str | None) -> None:
    """Write a table as rows; those of a run without checks, which has no address, get none."""
    lines = (
        encode_lines(rows)
        if address is None
        else b"".join(checked_line(row, number, address) for number, row in enumerate(rows, 1))
    )
    write_whole(run / layout.ROWS / f"{name}.jsonl", lines)
