"""Interference of the two tasks at their shared weights: numbers of the gradient probe's rows.

Shapes: N batches, B bootstrap draws.

Goes in: the table of `gradient_table`. Comes out, for each scenario and block of parameters: the
median cosine over batches, the magnitude ratio |u| / |g| as a geometric mean, the median magnitude
similarity, the share of batches in conflict (cosine below 0), each with an interval; and the cosine
over training steps. Whether gradients agree at all is tested in `alignment`, scenarios against each
other in `scenario_comparison`: over all blocks and batches at once.

A cosine of two noisy gradients is nearer to 0 than that of the true ones. How much, is seen in each
task's own halves: with r the median cosine of two halves of one batch, the whole batch has the
reliability 2 r / (1 + r) (Spearman 1910, Brown 1910), the highest cosine that two tasks with one
true gradient would show is sqrt(reliability_u * reliability_g), the noise ceiling, and the cosine
divided by it is the disattenuated one (Spearman 1904). Without a positive reliability there is
none, with a reason. It may come out above 1.

Intervals of medians are percentiles of 1,000 draws of batches; below six batches no interval of a
median can hold 95 %, so there is none. Batches count as independent draws: neighboring steps of one
training run are not quite, and its intervals are a little short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.gradients.rows import ALL
from pairuni_eval.stats.aggregate import Array, Bounds, Codes, Mask
from pairuni_eval.stats.intervals import (
    LEVEL,
    Interval,
    clip,
    mean_interval,
    percentile_interval,
    wilson,
)

ENOUGH_BATCHES = 6
_DRAWS = 1_000
_NO_BATCH = "no batch has gradients of both tasks"
_NEEDS_TWO = "an interval needs two batches"
_UNDEFINED = 0.5 * (1 - LEVEL)  # share of draws that may lack a number beside an interval


class BatchStatistic(NamedTuple):
    """A number over batches.

    Attributes:
        value: None if the batches make none.
        interval: 95 % interval; None if nothing can be said.
        note: Why a value or an interval is missing.
    """

    value: float | None
    interval: Interval | None = None
    note: str | None = None


class Bootstrapped(NamedTuple):
    """A number of some batches.

    Attributes:
        value: Of the batches themselves, a scalar; NaN if there is none.
        draws: (B,) of every bootstrap draw of them.
        batches: How many batches it rests on.
    """

    value: Array
    draws: Array
    batches: int


class BlockInterference(NamedTuple):
    """One scenario in one block of parameters.

    Attributes:
        batches: Batches with a cosine.
        silent: Batches in which a task had no gradient.
        cosine: Median over batches.
        ratio: Geometric mean of |u| / |g|.
        similarity: Median gradient magnitude similarity, in [0, 1].
        conflict: Share of batches with a cosine below 0.
        und_reliability: Of the understanding gradient of a whole batch.
        gen_reliability: The same for generation.
        ceiling: The highest cosine that noise leaves.
        corrected: The cosine divided by the ceiling.
        und_live: Mean share of understanding groups whose rewards differ.
        gen_live: The same for generation.
    """

    scenario: str
    block: str
    preconditioned: bool
    batches: int
    silent: int
    cosine: BatchStatistic
    ratio: BatchStatistic
    similarity: BatchStatistic
    conflict: BatchStatistic
    und_reliability: BatchStatistic
    gen_reliability: BatchStatistic
    ceiling: BatchStatistic
    corrected: BatchStatistic
    und_live: float
    gen_live: float

    @property
    def finding(self) -> str:
        """E.g. "pairuni: median cosine 0.021 [0.011, 0.034] over 40 batches, 12 % of them ..."."""
        if self.cosine.value is None:
            return f"{self.scenario}: {self.cosine.note}"
        conflict = 100 * (self.conflict.value or 0.0)
        return (
            f"{self.scenario}: median cosine {shown(self.cosine)} over {self.batches} "
            f"batch{'es' * (self.batches != 1)}, {conflict:.0f} % of them in conflict"
        )

    @property
    def noise(self) -> str:
        """What noise does to the cosine, e.g. "noise ceiling 0.667, corrected 0.225"."""
        if self.corrected.value is None:
            return f"not corrected for noise, since {self.corrected.note}"
        ceiling = shown(BatchStatistic(self.ceiling.value))
        return f"noise ceiling {ceiling}, corrected {shown(self.corrected)}"

    @property
    def sentence(self) -> str:
        """The finding and what noise does to it."""
        if self.cosine.value is None:
            return f"{self.finding}."
        return f"{self.finding}; {self.noise}."


class ScenarioInterference(NamedTuple):
    """One scenario over all parameters and block by block.

    Attributes:
        overall: All shared parameters together.
        blocks: Each block, in the order of the rows.
        block_conflict: Share of blocks with a cosine below 0, mean over batches.
        conflicting: Blocks whose median cosine is below 0.
    """

    name: str
    preconditioned: bool
    overall: BlockInterference
    blocks: tuple[BlockInterference, ...]
    block_conflict: BatchStatistic
    conflicting: tuple[str, ...]


class CosineCurve(NamedTuple):
    """The cosine over training steps: moving median and band, one entry a step."""

    scenario: str
    block: str
    steps: tuple[int, ...]
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    window: int


def shown(number: BatchStatistic, sign: str = "") -> str:
    """Value and interval with three decimals, e.g. "0.021 [0.011, 0.034]"."""
    value = "none" if number.value is None else f"{number.value:{sign}.3f}"
    if number.interval is None:
        return value
    return f"{value} [{number.interval.low:{sign}.3f}, {number.interval.high:{sign}.3f}]"


def scenarios(table: pd.DataFrame, *, seed: int = 0) -> tuple[ScenarioInterference, ...]:
    """Every scenario, raw gradients first; in the order of the rows.

    Args:
        table: Of `gradient_table`; the batches of several runs of a scenario are taken together.
        seed: Seed of the bootstrap.
    """
    found = []
    for preconditioned in (False, True):
        mine = table[table["preconditioned"] == preconditioned]
        found += [
            _scenario(str(name), mine[mine["scenario"] == name], preconditioned, seed)
            for name in mine["scenario"].drop_duplicates()
        ]
    return tuple(found)


def _scenario(
    name: str, table: pd.DataFrame, preconditioned: bool, seed: int
) -> ScenarioInterference:
    parts = {
        str(block): _interference(rows, seed) for block, rows in table.groupby("block", sort=False)
    }
    blocks = tuple(part for block, part in parts.items() if block != ALL)
    conflicting = [one.block for one in blocks if (one.cosine.value or 0.0) < 0]
    return ScenarioInterference(
        name=name,
        preconditioned=preconditioned,
        overall=parts[ALL],
        blocks=blocks,
        block_conflict=_block_conflict(table),
        conflicting=tuple(conflicting),
    )


def _interference(rows: pd.DataFrame, seed: int) -> BlockInterference:
    """All numbers of one scenario, block and conditioning."""
    first = rows.iloc[0]
    known = rows[rows["cosine"].notna()]
    draws = draws_of(len(known), seed)
    halved = known[known["und_halves"].notna() & known["gen_halves"].notna()]
    und, gen, ceiling, corrected = _noise(halved, seed)
    return BlockInterference(
        scenario=str(first["scenario"]),
        block=str(first["block"]),
        preconditioned=bool(first["preconditioned"]),
        batches=len(known),
        silent=len(rows) - len(known),
        cosine=summary(median(known["cosine"], draws)),
        ratio=_geometric_mean(known["log_ratio"].to_numpy()),
        similarity=summary(median(known["similarity"], draws)),
        conflict=_share(known["cosine"].to_numpy() < 0),
        und_reliability=und,
        gen_reliability=gen,
        ceiling=ceiling,
        corrected=corrected,
        und_live=float(rows["und_live"].mean()),
        gen_live=float(rows["gen_live"].mean()),
    )


@lru_cache(maxsize=8)
def draws_of(batches: int, seed: int) -> Codes:
    """(B, N): which batches each bootstrap draw takes; the same ones for every block. Read only."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, max(1, batches), size=(_DRAWS, batches), dtype=np.int64)
    draws.setflags(write=False)
    return draws


def median(column: pd.Series, draws: Codes) -> Bootstrapped:
    """The median of a column without gaps, and of every draw of it."""
    values = column.to_numpy(dtype=np.float64)
    if len(values) == 0:
        return Bootstrapped(np.full((), np.nan), np.full(len(draws), np.nan), 0)
    return Bootstrapped(np.median(values), _medians(values[draws]), len(values))


def _medians(lines: Array) -> Array:
    """(B,): the median of each line, without np.median's search for gaps."""
    middle = lines.shape[1] // 2
    places = [middle] if lines.shape[1] % 2 else [middle - 1, middle]
    lines.partition(places, axis=1)
    found: Array = lines[:, places].mean(axis=1)
    return found


def combined(number: Callable[..., Array], *parts: Bootstrapped) -> Bootstrapped:
    """A number made of others, in the batches themselves and in every draw."""
    value, draws = (number(*(part[n] for part in parts)) for n in (0, 1))
    return Bootstrapped(value, draws, min(part.batches for part in parts))


def summary(drawn: Bootstrapped) -> BatchStatistic:
    """Value and percentile interval, or why there is none."""
    if drawn.batches == 0:
        return BatchStatistic(None, None, _NO_BATCH)
    value = float(drawn.value)
    if drawn.batches < ENOUGH_BATCHES:
        return BatchStatistic(value, None, f"an interval needs {ENOUGH_BATCHES} batches")
    lacking = float(np.mean(~np.isfinite(drawn.draws)))
    if lacking > _UNDEFINED:
        return BatchStatistic(
            value, None, f"{100 * lacking:.0f} % of the draws have no reliability"
        )
    return BatchStatistic(value, percentile_interval(drawn.draws))


def _geometric_mean(logs: Array) -> BatchStatistic:
    """Mean on the log scale with its t interval, as a ratio."""
    logs = logs[np.isfinite(logs)]
    if len(logs) == 0:
        return BatchStatistic(None, None, _NO_BATCH)
    value = float(np.exp(float(logs.mean())))
    if len(logs) < 2:
        return BatchStatistic(value, None, _NEEDS_TWO)
    return BatchStatistic(value, Interval(*np.exp(mean_interval(logs)).tolist()))


def _share(hits: Mask) -> BatchStatistic:
    """A share of batches with Wilson's interval."""
    if len(hits) == 0:
        return BatchStatistic(None, None, _NO_BATCH)
    share = float(hits.mean())
    return BatchStatistic(share, wilson(share, float(len(hits))))


def _block_conflict(table: pd.DataFrame) -> BatchStatistic:
    """Share of blocks in conflict, batch by batch; its mean with a t interval."""
    known = table[(table["block"] != ALL) & table["cosine"].notna()]
    if known.empty:
        return BatchStatistic(None, None, "no block has gradients of both tasks")
    by_batch = (known["cosine"] < 0).groupby([known["run"], known["step"]]).mean()
    shares = np.asarray(by_batch, dtype=np.float64)
    value = float(shares.mean())
    if len(shares) < 2:
        return BatchStatistic(value, None, _NEEDS_TWO)
    return BatchStatistic(value, clip(mean_interval(shares), Bounds(0.0, 1.0)))


def whole_from_halves(halves: Array) -> Array:
    """Spearman-Brown: the reliability 2 r / (1 + r) of a whole from the cosine r of its halves."""
    with np.errstate(divide="ignore"):  # halves that are exactly opposite
        whole: Array = 2 * halves / (1 + halves)
    return whole


def _noise(
    halved: pd.DataFrame, seed: int
) -> tuple[BatchStatistic, BatchStatistic, BatchStatistic, BatchStatistic]:
    """Both reliabilities, the noise ceiling and the disattenuated cosine.

    Args:
        halved: The rows of batches whose halves were taken apart.
        seed: Seed of the bootstrap.
    """
    draws = draws_of(len(halved), seed)
    halves = [median(halved[column], draws) for column in ("und_halves", "gen_halves")]
    wholes = [combined(whole_from_halves, one) for one in halves]
    told = [summary(one) for one in wholes]
    reason = _no_correction(halves)
    if reason is not None:
        nothing = BatchStatistic(None, None, reason)
        return told[0], told[1], nothing, nothing
    ceiling = combined(_ceiling, *wholes)
    corrected = combined(np.divide, median(halved["cosine"], draws), ceiling)
    return told[0], told[1], summary(ceiling), summary(corrected)


def _no_correction(halves: Sequence[Bootstrapped]) -> str | None:
    """Why a cosine cannot be corrected for noise."""
    if halves[0].batches == 0:
        return "no batch was taken in halves"
    for task, one in zip(("an understanding", "a generation"), halves, strict=True):
        if not one.value > 0:
            return (
                f"the halves of {task} batch do not point the same way (median cosine "
                f"{float(one.value):.3f}), so that at this batch size its gradient is noise"
            )
    return None


def _ceiling(und: Array, gen: Array) -> Array:
    """sqrt(reliability_u * reliability_g); NaN where one is not positive."""
    found: Array = np.sqrt(np.where((und > 0) & (gen > 0), und * gen, np.nan))
    return found


def curve(
    table: pd.DataFrame,
    scenario: str,
    *,
    block: str = ALL,
    preconditioned: bool = False,
    window: int = 9,
    seed: int = 0,
) -> CosineCurve:
    """Moving median of the cosine over steps, with a bootstrap band.

    Args:
        table: Of `gradient_table`; several runs of the scenario are taken together.
        scenario: Which scenario.
        block: Which block.
        preconditioned: Which gradients.
        window: Probed steps that one median is taken over; fewer at the ends.
        seed: Seed of the bootstrap.
    """
    mine = cosines(table, scenario, block, preconditioned)
    steps = np.unique(mine["step"])
    place, cosine = np.searchsorted(steps, mine["step"]), mine["cosine"].to_numpy()
    lines = []
    for center in range(len(steps)):
        near = cosine[np.abs(place - center) <= window // 2]
        draws = draws_of(len(near), seed)
        band = percentile_interval(np.median(near[draws], axis=1))
        assert band is not None  # every draw has a median
        lines.append((float(np.median(near)), *band))
    columns = zip(*lines, strict=True) if lines else ((), (), ())
    middle, low, high = (tuple(column) for column in columns)
    return CosineCurve(scenario, block, tuple(steps.tolist()), middle, low, high, window)


def cosine_matrix(table: pd.DataFrame, scenario: str, *, preconditioned: bool) -> pd.DataFrame:
    """The cosine of every batch of a scenario in every block, all shared parameters first.

    Rows are batches by run and step; NaN where a task had no gradient in a block.
    """
    mine = table[(table["scenario"] == scenario) & (table["preconditioned"] == preconditioned)]
    wide = mine.groupby(["run", "step", "block"])["cosine"].mean().unstack("block")
    blocks = [str(block) for block in mine["block"].drop_duplicates()]
    return wide.reindex(columns=sorted(blocks, key=lambda block: block != ALL))


def cosines(table: pd.DataFrame, scenario: str, block: str, preconditioned: bool) -> pd.DataFrame:
    """Run, step and cosine of one scenario and block, where there is a cosine."""
    keep = (table["scenario"] == scenario) & (table["block"] == block)
    keep &= (table["preconditioned"] == preconditioned) & table["cosine"].notna()
    return table.loc[keep, ["run", "step", "cosine"]]
