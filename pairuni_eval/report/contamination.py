"""The report's section on the set a checkpoint was trained on: has it seen the tests?

What was seen is found by `pairuni_eval.contamination`; here each headline stands beside that
without the flagged units, both with intervals. That they agree does not show that nothing leaked.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pandas as pd

from pairuni_eval.cards import MetricSpec
from pairuni_eval.contamination.fingerprints import Fingerprints, read_fingerprints
from pairuni_eval.contamination.neighbors import NEAR
from pairuni_eval.contamination.search import BenchmarkLeak, EvaluationItem, describe_leaks, search
from pairuni_eval.stats.aggregate import make_aggregate, rows_within
from pairuni_eval.stats.intervals import Estimate, estimate
from pairuni_eval.stats.tables import Tables, all_rows
from pairuni_eval.stats.verdict import printed
from pairuni_eval.store.read import decode_cell

_SHOWN = 12


class HeadlineLeak(BenchmarkLeak, frozen=True, kw_only=True):
    """What a pair set shares with a benchmark of a run, and what that does to its headline.

    Attributes:
        everything: The headline over all units.
        clean: The headline without the flagged units; no value if none is left.
    """

    spec: MetricSpec
    everything: Estimate
    clean: Estimate

    @property
    def sentence(self) -> str:
        """E.g. "MME: 12 of 1187 units are in the pair set; 1444.0 with them, 1439.2 without."."""
        if self.flagged == 0:
            return f"{self.title}: none of {self.units} units was found in the pair set."
        found = f"{self.title}: {self.flagged} of {self.units} units were found in the pair set"
        if self.clean.value is None:
            return f"{found}; without them nothing is left."
        return f"{found}; {_shown(self.everything, self.spec)} with them, " + (
            f"{_shown(self.clean, self.spec)} without."
        )


def _shown(number: Estimate, spec: MetricSpec) -> str:
    value = printed(number.value, spec)
    if number.interval is None:
        return value
    return f"{value} [{printed(number.interval.low, spec)}, {printed(number.interval.high, spec)}]"


class Contamination(NamedTuple):
    """The benchmarks of a run against a pair set.

    Attributes:
        pairs: Pairs in the set.
        broken: Images of the set that could not be decoded.
        encoder: Whose features found neighbors; None where no encoder has looked.
        leaks: By benchmark, in the order of the report.
    """

    pairs: int
    broken: int
    encoder: str | None
    leaks: tuple[HeadlineLeak, ...]
    near: float = NEAR  # cosine above which two images count as one
    most: int = _SHOWN  # flagged items that a benchmark lists at most

    @property
    def answer(self) -> str:
        """The finding in one sentence."""
        return describe_leaks(self.leaks, self.pairs)


def contamination(tables: Tables, pairs: Path, order: list[str]) -> Contamination:
    """Look for a run's test items in a pair set.

    Args:
        tables: The run.
        pairs: The parquet file of the pair set.
        order: The benchmarks in the report's order.

    Raises:
        UserError: as `read_fingerprints`.
    """
    prints = read_fingerprints(pairs, tables.run.folder)
    found = tuple(_leak(tables, name, prints) for name in order)
    return Contamination(prints.pairs, prints.broken, prints.encoder, found)


def _leak(tables: Tables, benchmark: str, prints: Fingerprints) -> HeadlineLeak:
    seen = search(benchmark, tables.card(benchmark).title, _asked(tables, benchmark), prints)
    protocol = tables.protocols(benchmark)[0]
    rule = tables.spec(benchmark, protocol)
    spec = rule.metric(rule.headline)
    frame = tables.joined(benchmark, protocol, spec.of)
    rest = frame[~frame["unit"].isin(seen.flagged_units)]
    return HeadlineLeak(
        **msgspec.structs.asdict(seen),
        spec=spec,
        everything=_headline(frame, spec),
        clean=_headline(rest, spec),
    )


def _asked(tables: Tables, benchmark: str) -> Iterator[EvaluationItem]:
    """The samples of a run as they were asked; their images are looked up in its folder."""
    samples = tables.run.samples
    for row in samples[samples["benchmark"] == benchmark].itertuples():
        parts = decode_cell(str(row.parts))
        text = " ".join(part["text"] for part in parts if "text" in part)
        images = [part["image"] for part in parts if "image" in part]
        stored = {image: partial(tables.run.pictures.data, image) for image in images}
        yield EvaluationItem(str(row.uid), str(row.key), str(row.unit), text, stored)


def _headline(frame: pd.DataFrame, spec: MetricSpec) -> Estimate:
    rows = rows_within(all_rows(frame), spec.where)
    return estimate(make_aggregate(spec, rows), rows)


def contamination_entry(found: Contamination) -> dict[str, Any]:
    """The same for programs; values are unscaled."""
    return {
        "pairs": found.pairs,
        "encoder": found.encoder,
        "benchmarks": {
            leak.benchmark: {
                "units": leak.units,
                "flagged": leak.flagged,
                "by": dict(leak.by),
                "unseen": leak.unseen,
                "unsought": leak.unsought,
                "with": leak.everything.value,
                "without": leak.clean.value,
                "sentence": leak.sentence,
            }
            for leak in found.leaks
        },
    }
