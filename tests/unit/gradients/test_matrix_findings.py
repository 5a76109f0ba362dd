"""What a per-pair matrix allows to be said, and what it does not."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pairuni_eval.gradients.matrix_findings import (
    Answers,
    MatrixFindings,
    PairingStance,
    matrix_findings,
)
from pairuni_eval.gradients.matrix_lines import matrix_lines, sentences
from pairuni_eval.gradients.pair_matrix import NOT_KNOWN, PairTable
from pairuni_eval.gradients.rows import ALL

pytestmark = pytest.mark.light

COUNT = 24
CONCEPT = np.arange(COUNT) % 4
SHARED = (CONCEPT[:, None] == CONCEPT[None, :]).astype(np.int64)


def world(
    effect: np.ndarray | float = 0.0,
    *,
    scenario: str = "aligned",
    common: np.ndarray = SHARED,
    no: int = 0,
    seed: int = 0,
) -> PairTable:
    """Cosines of noise .01, and an effect; the last `no` questions are answered "no"."""
    noise = 0.01 * np.random.default_rng(seed).normal(size=(COUNT, COUNT))
    inner = {ALL: noise + effect, "norm": noise, "layers.0": noise + effect}
    und, gen = ({block: np.ones(COUNT) for block in inner} for _ in range(2))
    pairs = tuple(f"pair{n}" for n in range(COUNT))
    says_no = np.arange(COUNT) >= COUNT - no
    return PairTable(scenario, pairs, says_no, common, inner, und, gen)


def said(*tables: PairTable) -> tuple[MatrixFindings, str]:
    found = matrix_findings(tables)
    return found, "\n".join(sentences(found))


def test_what_the_concept_does_is_not_called_the_pairs() -> None:
    found, text = said(world(0.02 * SHARED))
    (group,) = found.groups
    assert group.pairing.stance is PairingStance.MORE
    assert group.picture.stance is PairingStance.CANNOT_TELL
    assert "aligned: gradients agree more within a pair than re-paired" in text
    assert "not shown to be more than the concept does" in text
    assert "picture:" not in text and "same image" not in text


def test_what_goes_beyond_the_concept_is_said() -> None:
    found, text = said(world(0.03 * np.eye(COUNT)))
    assert found.groups[0].picture.stance is PairingStance.MORE
    assert "The concept alone does not explain it" in text
    assert "layers.0 (agree more" in text


def test_nothing_is_said_of_noise() -> None:
    found, text = said(world())
    assert found.groups[0].pairing.stance is PairingStance.CANNOT_TELL
    assert "cannot tell whether it matters which halves are paired" in text
    assert "concept" not in text and "By block" not in text


def test_few_pairs_are_not_said_to_have_shown_anything() -> None:
    """Four pairs have 24 re-pairings: after the correction no p can be below .05."""
    few = [world(scenario=name).among(np.arange(COUNT) < 4) for name in ("one", "two")]
    found, text = said(*few)
    assert found.groups[0].pairing.least_p == 1 / 24
    assert "4 pairs are too few to tell any difference" in text
    assert "hardly be found" not in text
    assert "before any correction a difference below" in said(world())[1]


def test_without_concepts_the_pair_and_the_concept_are_not_told_apart() -> None:
    unknown = np.full((COUNT, COUNT), NOT_KNOWN)
    found, text = said(world(0.03 * np.eye(COUNT), common=unknown))
    (group,) = found.groups
    assert (group.known, group.picture.p, found.tests) == (False, None, 1)
    assert "cannot be told: what the halves ask for is not known" in text
    _, text = said(world(common=unknown))
    assert "cannot tell" in text and "'nothing in common' are empty" in text


def test_answers_of_no_are_a_group_of_their_own() -> None:
    effect = 0.03 * np.eye(COUNT)
    effect[16:] *= -1
    found, text = said(world(effect, no=8))
    other, no = found.groups
    assert (other.answers, other.count, no.answers, no.count) == (Answers.OTHER, 16, Answers.NO, 8)
    assert (other.pairing.stance, no.pairing.stance) == (PairingStance.MORE, PairingStance.LESS)
    assert 'aligned, answers "no": gradients agree less within a pair' in text
    assert [one.cosines for one in other.classes][::2] == [16, 16 * 15], "groups do not meet"


def test_all_designs_are_corrected_together() -> None:
    one, two = world(seed=5), world(seed=6, scenario="retrieved")
    (alone,) = matrix_findings([one]).groups
    found, text = said(one, two)
    assert (found.tests, found.block_tests) == (4, 4)
    together = [test for group in found.groups for test in (group.pairing, group.picture)]
    assert found.groups[0].pairing.p == alone.pairing.p
    (renamed,) = matrix_findings([one._replace(scenario="elsewhere/aligned")]).groups
    assert renamed.pairing == alone.pairing
    smallest = min(together, key=lambda test: test.p)
    assert smallest.corrected == pytest.approx(min(1.0, 4 * smallest.p))
    assert all(test.corrected >= test.p for test in together)
    assert "4 tests over all shared parameters together, and 4 tests of blocks together" in text


def test_dead_halves_are_counted() -> None:
    table = world()
    for block in table.blocks:
        table.und[block][:22] = np.nan
        table.inner[block][:22] = np.nan
    found, text = said(table)
    (group,) = found.groups
    assert (group.und_dead, group.gen_dead, group.pairing.pairs) == (22, 0, 2)
    assert "not tested, only 2 pairs have gradients of both halves" in text
    assert "22 understanding and 0 generation halves of 24 each" in text
    assert found.tests == 0 and "no tests over all shared parameters" in text


def test_lines_and_json_hold_every_number() -> None:
    found = matrix_findings([world(0.02 * SHARED, no=8)])
    lines = list(matrix_lines(found))
    assert sum("within the pair" in line for line in lines[1:9]) == 2
    (group, _) = found.groups
    assert f"{group.classes[0].mean:+.4f} +- {group.classes[0].error:.4f}" in lines[1]
    assert lines[1].endswith(f"{group.pairing.p:7.4f}  {group.pairing.corrected:.4f}")
    assert sum(line.startswith("aligned") and "layers.0" in line for line in lines) == 4
    again = msgspec.json.decode(msgspec.json.encode(found), type=MatrixFindings)
    assert again == found
