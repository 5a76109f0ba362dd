"""Numbers that couple what is so with what is said: tables of both, twin questions, two painters.

Shapes: N rows, K sums, P parts.

A row is an answer to a yes-or-no question; its value is 1 for yes (or, for twins, 1 for right) and
its tag `label` the gold answer. Rows are *twins* where they differ in the tag `twin` alone
(`asked` and `other`): two questions of one fact, of which one has the gold yes. What is so (D) is
the label of the asked one, what is approved (Y) the yes to it, and a fact is seen (S) where both
answers are right. A pair of which one answer has no value counts for nothing.

    youden_j        P(Y | D) - P(Y | not D), Youden 1950: 0 for whoever says the same to all, at
                    every prevalence of D
    kappa           Cohen 1960: agreement of Y with D beyond chance; moves with the prevalence
    twins           P(S)
    balanced_twins  mean of P(S | D) and P(S | not D)
    balanced        the same of single answers whose value is 1 for right, e.g. to multiple choice
    twin_gap        P(D) - P(S): above 0, drawing is ahead of seeing
    youden_penalty  youden_j of the rows whose tag `pictures` is `painter`, less that of `control`
    self_selection  of what could be gained by choosing the best of a prompt's pictures, the share
                    that choosing the one with most approved facts gains; ties are averaged. Facts
                    of which D is not known count as well: nobody who chooses knows it

A fact may be asked in two forms (the tag `form`): once with yes or no, and several times as
multiple choice, where the value is 1 for who names what is asked. Of these:

    form_agreement  the share of choices that say the same as the yes or no to their fact
    form_kappa      the same beyond chance

A number whose D is constant does not exist. One over fewer than `LEAST` units that show D, or not
D, has no interval: there the spread of a few units says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.aggregate import Aggregate, Array, Bounds, Codes, GradedRows, Mask, ratio

LEAST = 10  # units that show D, and units that do not
ASKED, OTHER = "asked", "other"
YES_NO, CHOICE = "yes_no", "choice"
_TWIN = ("pictures", "draw", "fact", "form")  # with the unit, what twins have in common


def _tag(rows: GradedRows, name: str, wanted: str) -> Mask:
    """(N,): whether a tag holds exactly this."""
    found = rows.tags.get(name)
    if found is None:
        return np.zeros(len(rows.value), dtype=bool)
    return np.asarray(found == wanted, dtype=bool)


def _codes(rows: GradedRows, names: tuple[str, ...]) -> Codes:
    """(N,): one integer for each combination of the unit and these tags."""
    code = pd.factorize(rows.unit)[0].astype(np.int64)
    for name in names:
        if name in rows.tags:
            one, levels = pd.factorize(np.asarray(rows.tags[name], dtype=object))
            code = code * (len(levels) + 1) + one + 1
    return code


class _Facts(NamedTuple):
    """Every fact at its asked row; False in all other rows.

    Attributes:
        known: (N,) rows at which a fact is known whole.
        so: (N,) D.
        good: (N,) Y, or S of twins.
    """

    known: Mask
    so: Mask
    good: Mask

    def within(self, keep: Mask) -> _Facts:
        """Those of some rows."""
        return _Facts(*(one & keep for one in self))


def approved(rows: GradedRows) -> _Facts:
    """D and Y of rows whose value is 1 for yes; rows without a label are no facts."""
    so, not_so = _tag(rows, "label", "yes"), _tag(rows, "label", "no")
    known = np.isfinite(rows.value) & (so | not_so)
    return _Facts(known, so, known & (np.nan_to_num(rows.value) >= 0.5)).within(known)


def seen(rows: GradedRows) -> _Facts:
    """D and S of twins whose value is 1 for right."""
    labeled = _tag(rows, "label", "yes") | _tag(rows, "label", "no")
    asked = _tag(rows, "twin", ASKED)
    ordered = np.lexsort((~asked, _codes(rows, _TWIN)))  # twins side by side, the asked one first
    codes, first = _codes(rows, _TWIN)[ordered], asked[ordered]
    value, usable = rows.value[ordered], labeled[ordered] & np.isfinite(rows.value[ordered])
    pair = np.zeros(len(codes), dtype=bool)
    pair[:-1] = (codes[:-1] == codes[1:]) & first[:-1] & ~first[1:] & usable[:-1] & usable[1:]
    right = np.zeros(len(codes), dtype=bool)
    right[:-1] = (value[:-1] >= 1) & (value[1:] >= 1)
    known, good = np.zeros(len(codes), dtype=bool), np.zeros(len(codes), dtype=bool)
    known[ordered], good[ordered] = pair, pair & right
    return _Facts(known, known & _tag(rows, "label", "yes"), good)


def marked(rows: GradedRows) -> _Facts:
    """D and right of single answers whose value is 1 for right."""
    return approved(rows)


def in_two_forms(rows: GradedRows) -> _Facts:
    """Of every choice whose fact was asked with yes or no too: that yes, and what is chosen.

    Where D stands in other numbers here stands the yes.
    """
    value = np.nan_to_num(rows.value)
    answered = np.isfinite(rows.value)
    code = np.unique(_codes(rows, ("pictures", "draw", "fact")), return_inverse=True)[1]
    asked = answered & _tag(rows, "form", YES_NO) & _tag(rows, "twin", ASKED)
    put, said = np.zeros((2, len(value)), dtype=bool)  # by fact, of which there are no more
    put[code[asked]] = True
    said[code[asked]] = value[asked] >= 0.5
    known = answered & _tag(rows, "form", CHOICE) & put[code]
    return _Facts(known, said[code], value >= 0.5).within(known)


_Reader = Callable[[GradedRows], _Facts]


class _OverFacts(Aggregate):
    """A number over facts; its rows are one pool, whatever `by` says of their groups."""

    def __init__(self, read: _Reader, spec: MetricSpec, groups: tuple[str, ...]) -> None:
        super().__init__(spec, groups)
        self._read = read

    def too_thin(self, rows: GradedRows) -> bool:
        """See `Aggregate.too_thin`."""
        return any(_units(rows, part) < LEAST for part in self._classes(rows))

    def _classes(self, rows: GradedRows) -> tuple[Mask, ...]:
        """The rows that show each class of which the number needs enough units."""
        facts = self._read(rows)
        return facts.known & facts.so, facts.known & ~facts.so

    def extremes(self, rows: GradedRows) -> tuple[Array, Array] | None:
        """All answers wrong and all right; of two forms nobody knows which answers agree most."""
        if self._read is in_two_forms:
            return None
        high = _gold(rows) if self._read is approved else np.ones(len(rows.value))
        return 1.0 - high, high


def _gold(rows: GradedRows) -> Array:
    """(N,): the right value of a row whose value is 1 for yes."""
    return _tag(rows, "label", "yes").astype(np.float64)


def _units(rows: GradedRows, keep: Mask) -> int:
    return len(np.unique(rows.unit[keep]))


class _Balanced(_OverFacts):
    """The mean of shares, each over facts of its own, put on a range.

    A share at an end is moved towards one half for its error, not towards the others: a reader who
    approves what holds and rejects what does not has both at the same end.

    Args:
        read: Reads facts from rows.
        shares: What the facts make: for each share the facts that count and those of them that are
            in it.
        bounds: The number where all shares are 0, and where all are 1.
    """

    center = 0.5

    def __init__(
        self,
        read: _Reader,
        shares: Callable[[GradedRows, _Facts], tuple[tuple[Mask, Mask], ...]],
        bounds: Bounds,
        spec: MetricSpec,
        groups: tuple[str, ...],
    ) -> None:
        super().__init__(read, spec, groups)
        self._shares = shares
        self._bounds = bounds

    def features(self, rows: GradedRows) -> Array:
        """See `Aggregate.features`: for each share the facts in it, and all that count."""
        columns = [half for share in self._of(rows) for half in (share[1], share[0])]
        return np.column_stack(columns).astype(np.float64)

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        found: Array = self.parts(sums).mean(axis=-1)
        return found

    def bounds(self, rows: GradedRows) -> Bounds:  # noqa: ARG002 - the base class has it
        """See `Aggregate.bounds`."""
        return self._bounds

    def parts(self, sums: Array) -> Array:
        """(..., P): each share on the whole range; see `Aggregate.parts`."""
        low, high = self._bounds
        found: Array = low + (high - low) * ratio(sums[..., ::2], sums[..., 1::2])
        return found

    def part_weights(self) -> Array:
        """See `Aggregate.part_weights`."""
        count = len(self._of(_NO_ROWS))
        return np.full(count, 1.0 / count)

    def part_members(self, rows: GradedRows) -> Mask:
        """See `Aggregate.part_members`."""
        return np.column_stack([counted for counted, _ in self._of(rows)])

    def _classes(self, rows: GradedRows) -> tuple[Mask, ...]:
        return tuple(counted for counted, _ in self._of(rows))

    def _of(self, rows: GradedRows) -> tuple[tuple[Mask, Mask], ...]:
        return self._shares(rows, self._read(rows))


_NO_ROWS = GradedRows(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64), {})


def _by_class(facts: _Facts) -> tuple[tuple[Mask, Mask], ...]:
    """The share seen among facts that hold, and among those that do not."""
    so, not_so = facts.known & facts.so, facts.known & ~facts.so
    return (so, so & facts.good), (not_so, not_so & facts.good)


def _coupled(facts: _Facts) -> tuple[tuple[Mask, Mask], ...]:
    """Approved among facts that hold, rejected among those that do not."""
    so, not_so = facts.known & facts.so, facts.known & ~facts.so
    return (so, so & facts.good), (not_so, not_so & ~facts.good)


def _two_painters(rows: GradedRows, facts: _Facts) -> tuple[tuple[Mask, Mask], ...]:
    """As `_coupled` of the painter's pictures, and the rest to 1 of the control's."""
    own = _coupled(facts.within(_tag(rows, "pictures", "painter")))
    control = _coupled(facts.within(_tag(rows, "pictures", "control")))
    return (*own, *((counted, counted & ~inside) for counted, inside in control))


class _Penalty(_Balanced):
    """A difference of two painters: what the control gains, it loses."""

    sides = Bounds(-1.0, 1.0)

    def extremes(self, rows: GradedRows) -> tuple[Array, Array] | None:
        """See `Aggregate.extremes`."""
        low, high = 1.0 - _gold(rows), _gold(rows)
        own = _tag(rows, "pictures", "painter")
        return np.where(own, low, high), np.where(own, high, low)


class _Kappa(_OverFacts):
    """Cohen's kappa of Y and D."""

    def features(self, rows: GradedRows) -> Array:
        """See `Aggregate.features`: facts in both, in D alone, in Y alone, in neither."""
        known, so, good = self._read(rows)
        cells = (so & good, so & ~good, ~so & good, ~so & ~good)
        return np.column_stack([known & cell for cell in cells]).astype(np.float64)

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`; none where D is constant."""
        total = sums.sum(axis=-1)
        so, good = sums[..., 0] + sums[..., 1], sums[..., 0] + sums[..., 2]
        seen_alike = ratio(sums[..., 0] + sums[..., 3], total)
        chance = ratio(so * good + (total - so) * (total - good), total**2)
        found = ratio(seen_alike - chance, 1 - chance)
        return np.where((so > 0) & (so < total), found, np.nan)

    def bounds(self, rows: GradedRows) -> Bounds:  # noqa: ARG002 - the base class has it
        """See `Aggregate.bounds`."""
        return Bounds(-1.0, 1.0)


class _MeanOfFacts(_OverFacts):
    """The mean of a whole number over facts; it exists whether or not D is constant."""

    is_ratio = True

    def __init__(
        self,
        read: _Reader,
        value: Callable[[_Facts], Array],
        bounds: Bounds,
        spec: MetricSpec,
        groups: tuple[str, ...],
    ) -> None:
        super().__init__(read, spec, groups)
        self._value = value
        self._bounds = bounds

    def features(self, rows: GradedRows) -> Array:
        """See `Aggregate.features`."""
        facts = self._read(rows)
        return np.column_stack([np.where(facts.known, self._value(facts), 0.0), facts.known])

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        return ratio(sums[..., 0], sums[..., 1])

    def bounds(self, rows: GradedRows) -> Bounds:  # noqa: ARG002 - the base class has it
        """See `Aggregate.bounds`."""
        return self._bounds

    def too_thin(self, rows: GradedRows) -> bool:  # noqa: ARG002 - the base class has it
        """Whatever D is."""
        return False


class _Gap(_MeanOfFacts):
    """What falls the more is seen."""

    def extremes(self, rows: GradedRows) -> tuple[Array, Array] | None:
        """See `Aggregate.extremes`."""
        right = np.ones(len(rows.value))
        return right, 1.0 - right


class _SelfSelection(_OverFacts):
    """The share of a possible gain; see the module docstring.

    A picture is right where its tag `picture` is `right`. A unit stands at its first row. Prompts
    with one picture, or whose pictures are all right or all wrong, gain nothing and could not.
    """

    def features(self, rows: GradedRows) -> Array:
        """See `Aggregate.features`: gained, and what could be gained."""
        sums = np.zeros((len(rows.value), 2))
        index = np.flatnonzero(np.isfinite(rows.value) & ~_tag(rows, "twin", OTHER))
        if not len(index):
            return sums
        picture, inverse = np.unique(_codes(rows, ("draw",))[index], return_inverse=True)
        votes = np.bincount(inverse, weights=rows.value[index], minlength=len(picture))
        right = np.zeros(len(picture))
        right[inverse] = _tag(rows, "picture", "right")[index]
        unit = np.zeros(len(picture), dtype=np.int64)
        unit[inverse] = rows.unit[index]
        for code in np.unique(unit):
            mine = unit == code
            chosen = right[mine][votes[mine] == votes[mine].max()].mean()
            mean, best = right[mine].mean(), right[mine].max()
            sums[index[rows.unit[index] == code][0]] = chosen - mean, best - mean
        return sums

    def finish(self, sums: Array) -> Array:
        """See `Aggregate.finish`."""
        return ratio(sums[..., 0], sums[..., 1])

    def extremes(self, rows: GradedRows) -> None:  # noqa: ARG002 - the base class has it
        """See `Aggregate.extremes`: a gain has no range."""
        return

    def _classes(self, rows: GradedRows) -> tuple[Mask, ...]:
        return (self.features(rows)[:, 1] > 0,)


_SHARE, _SIGNED = Bounds(0.0, 1.0), Bounds(-1.0, 1.0)


def youden_j(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """P(Y | D) - P(Y | not D)."""
    return _Balanced(approved, lambda _, facts: _coupled(facts), _SIGNED, spec, groups)


def youden_penalty(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """`youden_j` on the painter's pictures less that on the control's."""
    return _Penalty(approved, _two_painters, Bounds(-2.0, 2.0), spec, groups)


def balanced_twins(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """Mean of P(S | D) and P(S | not D)."""
    return _Balanced(seen, lambda _, facts: _by_class(facts), _SHARE, spec, groups)


def balanced(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """Mean of the shares that are right of facts that hold, and of those that do not."""
    return _Balanced(marked, lambda _, facts: _by_class(facts), _SHARE, spec, groups)


def form_agreement(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """The share of choices that say what the yes or no says."""
    return _MeanOfFacts(
        in_two_forms,
        lambda facts: (facts.so == facts.good).astype(np.float64),
        _SHARE,
        spec,
        groups,
    )


def form_kappa(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """Cohen's kappa of choices and the yes or no."""
    return _Kappa(in_two_forms, spec, groups)


def kappa(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """Cohen's kappa of Y and D."""
    return _Kappa(approved, spec, groups)


def twins(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """P(S)."""
    return _MeanOfFacts(seen, lambda facts: facts.good.astype(np.float64), _SHARE, spec, groups)


def twin_gap(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """P(D) - P(S) on the same facts."""
    return _Gap(seen, lambda facts: facts.so - facts.good.astype(np.float64), _SIGNED, spec, groups)


def self_selection(spec: MetricSpec, groups: tuple[str, ...]) -> Aggregate:
    """The share of the possible gain that choosing by approved facts gains."""
    return _SelfSelection(approved, spec, groups)


MAKERS: Mapping[str, Callable[[MetricSpec, tuple[str, ...]], Aggregate]] = {
    maker.__name__: maker
    for maker in (
        youden_j,
        youden_penalty,
        balanced_twins,
        balanced,
        form_agreement,
        form_kappa,
        kappa,
        twins,
        twin_gap,
        self_selection,
    )
}
