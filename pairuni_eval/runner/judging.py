"""The passes of a run's judges: who is asked, which samples each sees, what is still open.

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
from pairuni_eval.cards import Card, JudgeSpec
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import Judge, JudgeReply, JudgeSetup, Question
from pairuni_eval.judges.settings import JudgeChoice, read_choices
from pairuni_eval.judges.usage import JudgeCall, Usage, UsageRow, total_usage
from pairuni_eval.records import Output, RunCard, Sample, Score
from pairuni_eval.seeds import seed_for
from pairuni_eval.store import layout
from pairuni_eval.store.json_lines import encode_lines
from pairuni_eval.store.rank_rows import READING, RankRows, rank_file
from pairuni_eval.store.read import StoredRun, read_usage
from pairuni_eval.store.rows import checked_line
from pairuni_eval.store.seal import remove_rows
from pairuni_eval.store.write import write_record, write_whole

NONE = "none"  # as --judge names it


class JudgePass(NamedTuple):
    """One way of a judge through the outputs of a benchmark.

    Attributes:
        number: 0 for the scores that count; 1 for a judge that is asked again, whose scores are
            stored apart and never mixed in.
        judge: None if nobody is asked.
        share: Of the samples that it sees, in (0, 1].
    """

    number: int = 0
    judge: Judge | None = None
    share: float = 1.0

    @property
    def words(self) -> str | None:
        """What the run card says of it; None without a judge."""
        if self.judge is None:
            return None
        share = f" on {self.share:g} of the samples" if self.number else ""
        return f"{self.judge.snapshot}{share}"


_CARD_FIELDS = ("judge", "second_judge")  # what a run card says of each pass


class MeteredJudge(Judge):
    """A judge as a benchmark sees it, which remembers what its replies took.

    Attributes:
        calls: One for each question that was asked of a judge that keeps usage, in order.
    """

    def __init__(self, judge: Judge) -> None:
        self.snapshot = judge.snapshot
        self.calls: list[JudgeCall] = []
        self._judge = judge

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        """What the judge replies."""
        replies = self._judge.ask(questions)
        self.calls += [reply.call for reply in replies if reply.call is not None]
        return replies


def judge_plugins(judge: str | None, cards: Iterable[Card]) -> list[str]:
    """The names of the plugins that `load_judges` would load.

    Raises:
        UserError: for a bad judge file.
    """
    if judge == NONE:
        return []
    choices = read_choices(judge)
    specs = [card.judge for card in cards if card.judge is not None]
    return [choice.plugin or spec.name for spec in specs for choice in choices]


def load_judges(
    judge: str | None, cards: Iterable[Card], folder: Path
) -> dict[str, list[JudgePass]]:
    """The passes of each benchmark whose card asks for a judge, as `--judge` has them.

    Raises:
        UserError: for an unknown judge, a bad judge file, a missing key.
    """
    if judge == NONE:
        return {}
    choices = read_choices(judge)
    return {
        card.name: [
            JudgePass(number, _load(card.judge, choice, folder, number), choice.share)
            for number, choice in enumerate(choices)
        ]
        for card in cards
        if card.judge is not None
    }


def _load(spec: JudgeSpec, choice: JudgeChoice, folder: Path, number: int) -> Judge:
    name = choice.plugin or spec.name
    setup = JudgeSetup(spec, folder / layout.JUDGE, choice.options, choice.source, number)
    judge = catalog.load_plugin("judges", name).load(setup)
    if not isinstance(judge, Judge):
        raise UserError(
            f"The judge plugin '{name}' returned a {type(judge).__name__}, which is not a Judge."
        )
    return judge


def card_fields(passes: Iterable[JudgePass]) -> dict[str, str | None]:
    """What a run card says of the passes, by field."""
    return {_CARD_FIELDS[one.number]: one.words for one in passes}


def seen_samples(card: Card, samples: Sequence[Sample], share: float, seed: int) -> set[str]:
    """The uids of the samples that a judge sees which is asked about a share.

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
        for number, field in enumerate(_CARD_FIELDS):
            old, new = getattr(part, field), getattr(asked, field, None)
            mended = None not in (old, new) and old != new
            if mended and not _gave_verdicts(run, former, name, number):
                benchmarks[name] = structs.replace(benchmarks[name], **{field: new})
    return structs.replace(former, benchmarks=benchmarks)


def _gave_verdicts(run: Path, former: RunCard, benchmark: str, number: int) -> bool:
    """Whether a stored score rests on the judge of a pass, or a reply of it was used."""
    mine = [
        row for row in read_usage(run) if row.pass_number == number and row.benchmark == benchmark
    ]
    if any(call.replied and not call.open for row in mine for call in row.calls):
        return True
    pending = _open_outputs(mine, number)
    return any(
        score.judge is not None
        and score.protocol.rpartition("@")[0] == benchmark
        and (score.protocol, score.output) not in pending
        for score in _stored_scores(run, former, layout.PASSES[number])
    )


def _open_outputs(rows: Iterable[UsageRow], number: int) -> set[tuple[str, str]]:
    """The protocols and outputs of a pass about which a question is open."""
    return {
        (row.protocol, output)
        for row in rows
        if row.open and row.pass_number == number
        for output in row.outputs
    }


def _stored_scores(run: Path, card: RunCard, name: str) -> list[Score]:
    """The scores of a run, complete or not, so far."""
    if (run / layout.COMPLETE).is_file():
        return StoredRun(run).records(name, Score)
    rows = RankRows(run, name, Score, address=card.rows_address, share=READING)
    return rows.recover().rows


def open_questions(run: Path) -> Iterator[tuple[str, Usage]]:
    """The benchmarks whose judge left questions without a reply that asking again may bring."""
    rows = read_usage(run)
    for name in dict.fromkeys(row.benchmark for row in rows):
        usage = total_usage(row for row in rows if row.benchmark == name)
        if usage.open:
            yield name, usage


def reopen(run: Path) -> bool:
    """Turn a complete run back into one that goes on, if its judge left questions open.

    The tables become rows again, without the scores of the outputs about which a question is open;
    the mark COMPLETE goes last, so a kill in between leaves a complete run.

    Returns:
        Whether the run goes on.
    """
    usage = read_usage(run)
    if not any(row.open for row in usage):
        return False
    stored = StoredRun(run)
    address = None if stored.unchecked else stored.card.rows_address
    tables: dict[Path, Iterable[msgspec.Struct]] = {
        run / layout.ROWS / "samples.jsonl": stored.records("samples", Sample),
        rank_file(run, "outputs", 0): stored.records("outputs", Output),
    }
    for number, name in enumerate(layout.PASSES):
        pending = _open_outputs(usage, number)
        scores = stored.records(name, Score)
        tables[rank_file(run, name, 0)] = [
            s for s in scores if (s.protocol, s.output) not in pending
        ]
    remove_rows(run)  # those that a kill left beside the mark, of whatever rank
    for path, rows in tables.items():
        _restore(path, rows, address)
    planned = {
        name: one for name, one in stored.seal.files.items() if name != layout.EXTERNAL_METRICS
    }
    if not stored.unchecked:
        write_record(run / layout.ROWS / layout.PLANNED, planned)
    (run / layout.COMPLETE).unlink()
    return True


def _restore(path: Path, rows: Iterable[msgspec.Struct], address: str | None) -> None:
    """Write a table as rows; those of a run without checks, which has no address, get none."""
    lines = (
        encode_lines(rows)
        if address is None
        else b"".join(checked_line(row, number, address) for number, row in enumerate(rows, 1))
    )
    write_whole(path, lines)
