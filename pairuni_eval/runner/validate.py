"""A benchmark's check of itself, without any model.

Checked: the number of samples against the card, unique keys, readable images, the tags and score
metrics that the card's metrics read, and that the gold answer scores full under every protocol. An
empty answer must not do as well as gold; what it is under each protocol is printed, for protocols
differ (POPE's official rule takes it for a yes). Printed as well is the floor: what one constant
answer, given everywhere, makes of each headline.

A benchmark of drawn or edited pictures has no gold answer in text. Then pictures that show nothing
are graded: a blank, noise, patches of colors. Each must have the card's score metrics, as
numbers or statuses, and none may be worth more than what the card says noise may be worth. A few
samples from everywhere are tried, without a judge; in the tiny world with its own judge. That a
right picture scores full is not checked.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pairuni_eval.benchmark import Benchmark
from pairuni_eval.cards import MetricSpec, ProtocolSpec
from pairuni_eval.data import Data
from pairuni_eval.errors import DatasetError
from pairuni_eval.pictures import read_rgb
from pairuni_eval.records import Capability, ImagePart, Item, Picture, Sample, Status
from pairuni_eval.runner.graded_answers import NOTHINGS, GradedAnswers, grade_pictures, grade_texts
from pairuni_eval.runner.judging import load_judges

_CONSTANTS = 5  # most frequent gold answers that are tried as floors
# Samples that are tried with pictures that show nothing; the tiny world grades at no cost.
_TRIED, _TRIED_TINY = 4, 60
_SHOWN = 3


class Check(NamedTuple):
    """One thing that was looked at: None if it could not be checked."""

    name: str
    passed: bool | None
    words: str


class Floor(NamedTuple):
    """What one constant answer makes of a headline; `value` unscaled, None if it makes none."""

    protocol: str
    spec: MetricSpec
    answer: str
    value: float | None


class Validation(NamedTuple):
    """Everything that was found about a benchmark."""

    benchmark: str
    checks: tuple[Check, ...]
    floors: tuple[Floor, ...]

    @property
    def passed(self) -> bool:
        """True unless a check failed."""
        return all(check.passed is not False for check in self.checks)


_UNGRADED = Check(
    "values", None, "its grading models are large: they are loaded where --data DIR holds them"
)


def validate(benchmark: Benchmark, folder: Path | None, limit: int | None) -> Validation:
    """Check a benchmark.

    Args:
        benchmark: The benchmark.
        folder: What the user gave as `--data`, or None.
        limit: Look at the first samples only; the count is then not checked.

    Raises:
        UserError: if its data cannot be found or read.
    """
    data = benchmark.data(folder)
    items = _Items(benchmark.samples(data), limit)
    samples = items.samples
    checks = [
        _count(benchmark, data, len(samples), limit),
        _keys(samples),
        items.check(),
        *_tags(benchmark, samples),
    ]
    if benchmark.card.weights and folder is None:
        return Validation(benchmark.card.name, (*checks, _UNGRADED), ())
    benchmark.equip(data, device="auto")
    if benchmark.card.capability is Capability.UNDERSTAND:
        checked, floors = _answers(benchmark, samples)
    else:
        checked, floors = _pictures(benchmark, items), []
    return Validation(benchmark.card.name, (*checks, *checked), tuple(floors))


class _Items:
    """The samples of a benchmark, every different image of theirs decoded once on the way.

    Attributes:
        samples: In order.
        pictures: Of drawn and edited samples, the encoded pictures by id.
    """

    def __init__(self, items: Iterable[Item], limit: int | None) -> None:
        # By image and what its row says of it; None is an image without a flaw.
        self._flaws: dict[tuple[str, str | None], str | None] = {}
        self.pictures: dict[str, bytes] = {}
        self._broken: list[str] = []
        self.samples = [self._take(item) for item in islice(items, limit)]

    def _take(self, item: Item) -> Sample:
        flaws = [flaw for picture in item.pictures if (flaw := self._look(picture))]
        self._broken += [f"{item.sample.key} ({flaw})" for flaw in flaws[:1]]
        if item.sample.capability is not Capability.UNDERSTAND:
            self.pictures.update((picture.id, picture.data) for picture in item.pictures)
        return item.sample

    def _look(self, picture: Picture) -> str | None:
        known = (picture.id, picture.flaw)
        if known not in self._flaws:
            self._flaws[known] = picture.flaw or _flaw(picture)
        return self._flaws[known]

    def tried(self, at_most: int) -> list[Sample]:
        """So many samples, from everywhere, whose pictures are sound."""
        sound = [sample for sample in self.samples if self._is_sound(sample)]
        step = max(len(sound) / at_most, 1.0)
        return [sound[int(i * step)] for i in range(min(len(sound), at_most))]

    def _is_sound(self, sample: Sample) -> bool:
        shown = (part for part in sample.parts if isinstance(part, ImagePart))
        return not any(self._flaws[part.image, part.flaw] for part in shown)

    def check(self) -> Check:
        """Whether every image could be decoded."""
        if not self._flaws:
            return Check("images", None, "the samples have none")
        if self._broken:
            words = f"of {len(self._broken)} samples cannot be read: {_some(self._broken)}"
            return Check("images", False, words)
        return Check("images", True, f"{len(self._flaws)} different images, all readable")


def _flaw(picture: Picture) -> str | None:
    """Why an image cannot be read; None if it can."""
    if not picture.data:
        return "missing"
    try:
        read_rgb(io.BytesIO(picture.data), DatasetError)
    except DatasetError as failure:
        return str(failure)
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _count(benchmark: Benchmark, data: Data, found: int, limit: int | None) -> Check:
    if limit is not None:
        return Check("samples", None, f"{found}; not counted under --limit")
    expected = benchmark.count(data)
    words = f"{found} of {expected} that the card expects"
    return Check("samples", found == expected, words)


def _keys(samples: Sequence[Sample]) -> Check:
    twice = [key for key, n in Counter(sample.key for sample in samples).items() if n > 1]
    same = len(samples) - len({sample.uid for sample in samples})
    if twice or same:
        words = f"{len(twice)} keys occur twice ({_some(twice)}), {same} samples are equal"
        return Check("keys", False, words)
    return Check("keys", True, "all different")


def _tags(benchmark: Benchmark, samples: Sequence[Sample]) -> Iterator[Check]:
    """Whether the tags that metrics split or filter by are on the samples."""
    have = {tag for sample in samples for tag in sample.tags}
    for name, rule in benchmark.card.protocols.items():
        wanted = {spec.by for spec in rule.metrics if spec.by} | {
            tag for spec in rule.metrics for tag in spec.where
        }
        missing = sorted(wanted - have)
        words = f"no sample has {', '.join(missing)}" if missing else _some(sorted(wanted))
        yield Check(f"tags of {name}", not missing, words or "none needed")


def _answers(benchmark: Benchmark, samples: Sequence[Sample]) -> tuple[list[Check], list[Floor]]:
    """Gold, empty and constant answers under every protocol."""
    golden = [(sample, benchmark.gold(sample)) for sample in samples]
    known = [(sample, gold) for sample, gold in golden if gold is not None]
    checks: list[Check] = []
    floors: list[Floor] = []
    common = Counter(gold for _, gold in known).most_common(_CONSTANTS)
    for protocol, rule in benchmark.card.protocols.items():
        empty = grade_texts(benchmark, protocol, [(sample, "") for sample in samples])
        checks.append(numbered := _numbered(protocol, empty))
        if numbered.passed is False:
            continue  # what follows reads these values
        gold = grade_texts(benchmark, protocol, known)
        checks.append(_full(protocol, gold, len(samples)))
        checks.append(_empty(protocol, empty, gold))
        for answer, _ in common:
            graded = grade_texts(benchmark, protocol, [(sample, answer) for sample in samples])
            floors.append(_floor(protocol, rule, graded, answer))
    return checks, floors


def _numbered(protocol: str, graded: GradedAnswers) -> Check:
    """Whether every row has the score metrics that the card's metrics read, as numbers."""
    wanted = {spec.of for spec in graded.rule.metrics}
    name = f"values of {protocol}"
    for sample, found in zip(graded.samples, graded.metrics, strict=True):
        missing = sorted(wanted - found.keys())
        if missing:
            return Check(name, False, f"'{sample.key}' has no value of {', '.join(missing)}")
        odd = [m.metric for m in found.values() if m.value is not None and not np.isfinite(m.value)]
        if odd:
            return Check(name, False, f"'{sample.key}': {odd[0]} is not a number")
    return Check(name, True, ", ".join(sorted(wanted)))


def _full(protocol: str, graded: GradedAnswers, samples: int) -> Check:
    name = f"gold under {protocol}"
    if not graded.metrics:
        return Check(name, None, "the benchmark gives no gold answers")
    metric = graded.verdict_metric
    if all(row[metric].status is Status.SKIPPED for row in graded.metrics):
        return Check(name, None, f"not graded: {graded.metrics[0][metric].verdict}")
    values = graded.values(metric)
    wrong = [s.key for s, value in zip(graded.samples, values, strict=True) if value != 1.0]
    if wrong:
        words = f"{len(wrong)} of {len(values)} gold answers do not score full: {_some(wrong)}"
        return Check(name, False, words)
    without = samples - len(values)
    more = f"; {without} samples have no gold answer" if without else ""
    return Check(name, True, f"{len(values)} of {len(values)} score full{more}")


def _empty(protocol: str, empty: GradedAnswers, gold: GradedAnswers) -> Check:
    name = f"empty answer under {protocol}"
    if not empty.metrics:
        return Check(name, None, "no samples")
    metric = empty.verdict_metric
    words = empty.statuses(metric)
    values = empty.values(metric)
    if gold.metrics and all(value == 1.0 for value in values):
        return Check(name, False, f"{words}, all of them as good as gold")
    right = sum(value or 0.0 for value in values)
    return Check(name, True, f"{words}; {metric} is {right / len(values):.3f} on average")


def _floor(protocol: str, rule: ProtocolSpec, graded: GradedAnswers, answer: str) -> Floor:
    spec = rule.metric(rule.headline)
    return Floor(protocol, spec, answer, graded.number(spec))


def _pictures(benchmark: Benchmark, items: _Items) -> list[Check]:
    """Pictures that show nothing, and what cannot be checked."""
    checks = [
        Check("gold", None, "pictures have no gold answer: that a right one scores full is open")
    ]
    card = benchmark.card
    samples = items.tried(_TRIED_TINY if card.tiny else _TRIED)
    passes = load_judges(None, [card], Path()).get(card.name) if card.tiny else None
    judge = passes[0].judge if passes else None
    for protocol in card.protocols:
        graded_by_kind = {
            kind: grade_pictures(
                benchmark,
                protocol,
                samples,
                kind,
                sources=items.pictures,
                judge=judge,
            )
            for kind in NOTHINGS
        }
        checks.append(_numbered(protocol, next(iter(graded_by_kind.values()))))
        checks += [
            _nothing(kind, protocol, graded) for kind, graded in graded_by_kind.items() if samples
        ]
    return checks


def _nothing(kind: str, protocol: str, graded: GradedAnswers) -> Check:
    """Whether a picture that shows nothing is worth no more than the card allows."""
    name, said = f"{kind} under {protocol}", f"{len(graded.metrics)} graded"
    rule = graded.rule
    passed: bool | None = True
    for spec in rule.metrics:
        if spec.name != rule.headline and spec.noise is None:
            continue
        values = [value for value in graded.values(spec.of) if value is not None]
        said += f": {graded.statuses(spec.of)}" if spec.name == rule.headline else ""
        said += f"; {spec.of} from {min(values):g} to {max(values):g}" if values else ""
        if spec.noise is None or not values:
            passed = None if spec.noise is not None and passed else passed
        elif max(values) > spec.noise:
            passed = False
            said += f", and the card allows {spec.noise:g}"
    return Check(name, passed, said)
