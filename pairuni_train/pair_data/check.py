"""Is a pair set sound, and has it shown what a benchmark asks?

Unsound rows, duplicates and broken images are found in the set alone. What a benchmark asks is
looked for by the one search that the report uses as well (`pairuni_eval.contamination`), so that
the two name the same units; a benchmark whose data are not at hand is named, not passed over.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.api import Card
from pairuni_eval.toolkit import DatasetError, UserError
from pairuni_eval.toolkit.contamination import (
    BenchmarkLeak,
    EvaluationItem,
    Fingerprints,
    describe_leaks,
    read_fingerprints,
    search,
)
from pairuni_train.pair_data.dataset import examine_pairs
from pairuni_train.pair_data.embed import decode
from pairuni_train.pair_data.record import Pair

_LISTED = 5  # of each kind of trouble


class PairCheck(NamedTuple):
    """What is wrong with a pair set.

    Attributes:
        rows: Rows of the file.
        unsound: Why rows cannot be read.
        broken: Images that cannot be decoded, by row and half.
        repeated_ids: Ids that several rows have.
        repeated_questions: Questions that are asked about the same image more than once.
        repeated_prompts: Rows whose prompt an earlier row has; no fault where prompts are few.
        seen: What the set shares with each benchmark.
        missing: Why benchmarks could not be looked at, by name.
        encoder: Whose features found neighbors; None where no encoder has looked.
    """

    rows: int
    unsound: tuple[str, ...]
    broken: tuple[str, ...]
    repeated_ids: int
    repeated_questions: int
    repeated_prompts: int
    seen: tuple[BenchmarkLeak, ...] = ()
    missing: Mapping[str, str] = {}
    encoder: str | None = None

    @property
    def leaks(self) -> int:
        """Units of the benchmarks that the set has shown."""
        return sum(one.flagged for one in self.seen)

    @property
    def anything(self) -> bool:
        """Whether something is wrong; repeated prompts alone are not."""
        faults = (self.unsound, self.broken, self.repeated_ids, self.repeated_questions)
        return bool(self.leaks or self.missing) or any(map(bool, faults))


class _Contents:
    """What is remembered of a set while its rows go by: no image stays in memory."""

    def __init__(self) -> None:
        self.unsound: list[str] = []
        self.broken: list[str] = []
        self.rows = 0
        self.ids: Counter[str] = Counter()
        self.questions: Counter[tuple[str, str]] = Counter()
        self.prompts: Counter[str] = Counter()

    def add(self, found: Pair | UserError) -> None:
        """Take in one row."""
        self.rows += 1
        if isinstance(found, UserError):
            self.unsound.append(found.message)
            return
        self.ids[found.id] += 1
        if found.understanding is not None:
            half = found.understanding
            self.questions[half.question, hashlib.sha256(half.image).hexdigest()] += 1
            self._decode(half.image, f"{found.id}, understanding")
        if found.generation is not None:
            self.prompts[found.generation.prompt] += 1
            self._decode(found.generation.image, f"{found.id}, generation")

    def _decode(self, image: bytes | None, where: str) -> None:
        try:
            if image is not None:
                decode(image)
        except DatasetError as failure:
            self.broken.append(f"{where}: {failure}")


def check_pairs(path: Path, *, against: str | None, data: Path | None) -> PairCheck:
    """Look through a pair set.

    Args:
        path: The set.
        against: A suite or benchmarks, comma-separated.
        data: Folder with the benchmarks' files.

    Raises:
        UserError: for a file that is not a pair set, an unknown name, or neighbors beside the file
            are another set's.
    """
    cards = _cards(against) if against else []
    contents = _Contents()
    for found in examine_pairs(path):
        contents.add(found)
    findings = PairCheck(
        rows=contents.rows,
        unsound=tuple(contents.unsound),
        broken=tuple(contents.broken),
        repeated_ids=_repeated(contents.ids.values()),
        repeated_questions=_repeated(contents.questions.values()),
        repeated_prompts=_repeated(contents.prompts.values()),
    )
    return _against(findings, cards, read_fingerprints(path), data) if cards else findings


def _against(
    findings: PairCheck, cards: Sequence[Card], prints: Fingerprints, data: Path | None
) -> PairCheck:
    seen, missing = [], {}
    for card in cards:
        try:
            seen.append(search(card.name, card.title, _asked(card.name, data), prints))
        except UserError as absent:  # this benchmark's data; the others are looked at
            missing[card.name] = absent.message
    return findings._replace(seen=tuple(seen), missing=missing, encoder=prints.encoder)


def _cards(against: str) -> list[Card]:
    from pairuni_eval.toolkit.models import catalog

    if against in catalog.suites():
        return [catalog.find_card(name) for name in catalog.find_suite(against).benchmarks]
    return [catalog.find_card(name.strip()) for name in against.split(",") if name.strip()]


def _asked(name: str, data: Path | None) -> Iterator[EvaluationItem]:
    """The items of a benchmark as they are asked, with the pictures that they bring."""
    from pairuni_eval.api import Data
    from pairuni_eval.toolkit.models import load_benchmark

    benchmark = load_benchmark(name)
    for item in benchmark.samples(Data(benchmark.card, benchmark.folder, data)):
        sample = item.sample
        images = {one.id: partial(bytes, one.data) for one in item.pictures}
        yield EvaluationItem(sample.uid, sample.key, sample.unit, sample.text, images)


def report(found: PairCheck, path: Path) -> str:
    """The findings for people."""
    lines = [f"{path}: {found.rows} rows"]
    lines += _listed("unsound rows", found.unsound)
    lines += _listed("broken images", found.broken)
    lines.append(f"{found.repeated_ids:>7}  repeated ids")
    lines.append(f"{found.repeated_questions:>7}  repeated questions about the same image")
    lines.append(f"{found.repeated_prompts:>7}  repeated prompts")
    if found.seen:
        lines.append(f"\n{describe_leaks(found.seen, found.rows)}")
        lines.append(f"{'benchmark':<18}{'units':>7}{'seen':>6}   items by image, features, text")
    lines += [line for one in found.seen for line in _seen_lines(one, found.encoder is not None)]
    lines += [f"{name:<18} not looked at: {why}" for name, why in found.missing.items()]
    return "\n".join(lines)


def _seen_lines(one: BenchmarkLeak, by_features: bool) -> list[str]:
    near = str(one.by["neighbor"]) if by_features else "-"
    counts = f"{one.by['image']:>7}{near:>7}{one.by['text']:>7}"
    lines = [f"{one.benchmark:<18}{one.units:>7}{one.flagged:>6}{counts}"]
    keys = "; ".join(flag.key for flag in one.flags[:_LISTED])
    more = f" and {len(one.flags) - _LISTED} more" if len(one.flags) > _LISTED else ""
    lines += [f"         {keys}{more}"] if keys else []
    common = one.words - one.by["text"]
    lines += [f"         {common} items share only words with the set"] if common else []
    lines += [f"         {one.unseen} items could not be looked at"] if one.unseen else []
    lines += [f"         {one.unsought} no encoder saw"] if by_features and one.unsought else []
    return lines


def _listed(title: str, troubles: Sequence[str]) -> list[str]:
    more = [f"         ... and {len(troubles) - _LISTED} more"] if len(troubles) > _LISTED else []
    return [
        f"{len(troubles):>7}  {title}",
        *(f"         {trouble}" for trouble in troubles[:_LISTED]),
        *more,
    ]


def _repeated(counts: Iterable[int]) -> int:
    return sum(count - 1 for count in counts)
