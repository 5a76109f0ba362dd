"""Findings of a per-pair gradient matrix as lines of text: a table, and sentences below it."""

from __future__ import annotations

from collections.abc import Iterator

from pairuni_eval.gradients.matrix_findings import (
    Answers,
    BlockPairing,
    GroupFinding,
    MatrixFindings,
    PairingStance,
    PairingTest,
)
from pairuni_eval.gradients.pair_matrix import ClassMean, PairClass
from pairuni_eval.stats.multiple import ALPHA
from pairuni_eval.stats.verdict import p_words

_NAMED = 3  # blocks that a sentence names


def matrix_lines(findings: MatrixFindings) -> Iterator[str]:
    """The table of all groups, that of their blocks, and the sentences."""
    wide = max([8, *(len(group.scenario) for group in findings.groups)])
    yield (
        f"{'scenario':{wide}} {'answers':12} {'class':30} {'cosines':>7}  "
        f"{'mean +- s.e.':>18}  {'pooled +- s.e.':>18}  {'p':>7}  corrected"
    )
    for group in findings.groups:
        yield from _class_lines(group, wide)
    yield (
        f"p of '{PairClass.WITHIN}': against all re-pairings; p of '{PairClass.SAME_CONCEPT}': "
        "the pairs against re-pairings that keep a concept in common."
    )
    if findings.block_tests:
        yield ""
        yield (
            f"{'scenario':{wide}} {'answers':12} {'block':16} {'pairs':>5}  "
            f"{'within +- s.e.':>18}  {'re-paired':>9}  {'p':>7}  corrected"
        )
        for group in findings.groups:
            for block in group.blocks if group.pairing.p is not None else ():
                yield _block_line(group, block, wide)
    yield ""
    yield from sentences(findings)


def sentences(findings: MatrixFindings) -> Iterator[str]:
    """What may be said, a sentence or two a group; the number of tests last."""
    for group in findings.groups:
        yield " ".join(_said(group, findings.tests))
    yield (
        f"p values are corrected by Holm: {_tests(findings.tests)} over all shared parameters "
        f"together, and {_tests(findings.block_tests)} of blocks together."
    )


def _class_lines(group: GroupFinding, wide: int) -> Iterator[str]:
    tested = {
        PairClass.WITHIN: group.pairing,
        PairClass.SAME_CONCEPT: group.picture,
    }
    for number, one in enumerate(group.classes):
        names = (group.scenario, group.answers) if number == 0 else ("", "")
        test = tested.get(one.pair_class)
        yield (
            f"{names[0]:{wide}} {names[1]:12} {one.pair_class:30} {one.cosines:7}  "
            f"{_with_error(one.mean, one.error):>18}  "
            f"{_with_error(one.pooled, one.pooled_error):>18}  {_p_cells(test)}"
        ).rstrip()


def _block_line(group: GroupFinding, found: BlockPairing, wide: int) -> str:
    within = _of(found.classes, PairClass.WITHIN)
    re_paired = found.pairing.re_paired
    shown = "-" if re_paired is None else f"{re_paired:+.4f}"
    return (
        f"{group.scenario:{wide}} {group.answers:12} {found.block:16} {found.pairing.pairs:5}  "
        f"{_with_error(within.mean, within.error):>18}  {shown:>9}  {_p_cells(found.pairing)}"
    ).rstrip()


def _p_cells(test: PairingTest | None) -> str:
    if test is None:
        return ""
    if test.p is None or test.corrected is None:
        return f"{'-':>7}  -"
    return f"{test.p:7.4f}  {test.corrected:.4f}"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:+.4f}" + (f" +- {error:.4f}" if error is not None else "")


def _said(group: GroupFinding, tests: int) -> Iterator[str]:
    test, name = group.pairing, _name(group)
    if test.stance is PairingStance.NOT_TESTED:
        yield f"{name}: not tested, {test.reason}."
    elif test.stance is PairingStance.CANNOT_TELL:
        told = (
            f"before any correction a difference below {test.detectable:.4f} would hardly be found"
            if test.least_p * tests < ALPHA
            else f"{test.pairs} pairs are too few to tell any difference"
        )
        yield (
            f"{name}: cannot tell whether it matters which halves are paired; {_numbers(test)}; "
            f"{told}."
        )
    else:
        yield f"{name}: gradients {test.stance} within a pair than re-paired; {_numbers(test)}."
        yield _beyond_the_concept(group)
    if not group.known:
        yield (
            "Which halves ask for a concept in common is not known, so the classes "
            f"'{PairClass.SAME_CONCEPT}' and '{PairClass.NOTHING}' are empty."
        )
    yield from _by_block(group)
    yield from _left_out(group)


def _beyond_the_concept(group: GroupFinding) -> str:
    """Whether it is the pair, or the concept that both of its halves ask for."""
    test, same = group.picture, _of(group.classes, PairClass.SAME_CONCEPT)
    if test.stance is PairingStance.NOT_TESTED:
        return f"Whether the pair or the concept does it cannot be told: {test.reason}."
    shown = (
        f"re-paired among halves with a concept in common they have {test.re_paired:+.4f}, "
        f"{p_words(test.corrected)}"
    )
    if test.stance is PairingStance.CANNOT_TELL:
        return (
            "That is not shown to be more than the concept does: halves with a concept in common "
            f"in other pictures have {_with_error(same.mean, same.error)}; {shown}."
        )
    return f"The concept alone does not explain it: {shown}; they {test.stance} within the pair."


def _by_block(group: GroupFinding) -> Iterator[str]:
    sure = [
        one
        for one in group.blocks
        if one.pairing.stance in (PairingStance.MORE, PairingStance.LESS)
    ]
    sure.sort(key=lambda one: one.pairing.corrected or 0.0)
    if sure:
        named = [f"{one.block} ({one.pairing.stance}, {_numbers(one.pairing)})" for one in sure]
        more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
        yield f"By block, pair and concept not told apart: {'; '.join(named[:_NAMED] + more)}."


def _left_out(group: GroupFinding) -> Iterator[str]:
    if group.und_dead or group.gen_dead:
        yield (
            f"Left out, as all rollouts of them were worth the same: {group.und_dead} "
            f"understanding and {group.gen_dead} generation halves of {group.count} each."
        )


def _numbers(test: PairingTest) -> str:
    return (
        f"mean cosine {test.within:+.4f} against {test.re_paired:+.4f} re-paired, corrected "
        f"{p_words(test.corrected)} ({test.pairs} pairs with both gradients)"
    )


def _name(group: GroupFinding) -> str:
    if group.answers is Answers.EVERY:
        return group.scenario
    return f"{group.scenario}, answers {group.answers}"


def _of(classes: tuple[ClassMean, ...], wanted: PairClass) -> ClassMean:
    return next(one for one in classes if one.pair_class is wanted)


def _tests(count: int) -> str:
    return f"{count or 'no'} test{'s' * (count != 1)}"
