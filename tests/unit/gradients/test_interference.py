"""The gradient probe's rows by hand: cosines, noise, scenarios against each other, correlation."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.gradients.alignment import alignments
from pairuni_eval.gradients.correlation import ArmPoint, correlate
from pairuni_eval.gradients.interference import (
    ScenarioInterference,
    curve,
    scenarios,
    whole_from_halves,
)
from pairuni_eval.gradients.rows import ALL, gradient_table, read_gradients
from pairuni_eval.gradients.scenario_comparison import compare_scenarios
from pairuni_eval.records import GradientRow

Gram = tuple[float, float, float]


def row(
    cosine: float,
    step: int = 0,
    *,
    scenario: str = "pairuni",
    block: str = ALL,
    halves: tuple[float, float] | None = (0.5, 0.5),
    norms: tuple[float, float] = (1.0, 1.0),
) -> GradientRow:
    """A row with this cosine, these norms and these cosines of the halves."""
    und, gen = (None, None) if halves is None else ((4.0, 4 * r, 4.0) for r in halves)
    one, two = norms
    return GradientRow(
        scenario=scenario,
        step=step,
        block=block,
        preconditioned=False,
        tasks=(one**2, cosine * one * two, two**2),
        und_halves=und,
        gen_halves=gen,
        und_live=0.5,
        gen_live=1.0,
        rows=8,
    )


def summarized(rows: list[GradientRow]) -> ScenarioInterference:
    (found,) = scenarios(gradient_table([rows]))
    return found


def many(cosines: list[float], scenario: str = "pairuni", **more: object) -> list[GradientRow]:
    return [row(c, n, scenario=scenario, **more) for n, c in enumerate(cosines)]  # type: ignore[arg-type]


def test_columns_by_hand() -> None:
    table = gradient_table([[row(0.25, norms=(2.0, 1.0))]])
    assert table.loc[0, "cosine"] == pytest.approx(0.25)
    assert table.loc[0, "log_ratio"] == pytest.approx(math.log(2))
    assert table.loc[0, "similarity"] == pytest.approx(2 * 2 * 1 / (4 + 1))
    assert table.loc[0, "und_halves"] == pytest.approx(0.5)


def test_a_silent_task_has_no_cosine() -> None:
    found = summarized([*many([0.1, 0.2, 0.3]), row(0.9, 3, norms=(0.0, 1.0))]).overall
    assert found.batches == 3 and found.silent == 1
    assert found.cosine.value == pytest.approx(0.2)


def test_no_batch_at_all_says_so() -> None:
    found = summarized([row(0.5, norms=(0.0, 1.0))]).overall
    assert found.cosine.value is None and found.batches == 0
    assert found.sentence == "pairuni: no batch has gradients of both tasks."


def test_magnitude_ratio_is_a_geometric_mean() -> None:
    rows = [row(0.1, 0, norms=(4.0, 1.0)), row(0.1, 1, norms=(1.0, 1.0))]
    found = summarized(rows).overall.ratio
    # logs ln 4 and 0: mean ln 2, error ln 2; t with one degree of freedom is 12.706205
    assert found.value == pytest.approx(2.0)
    low, high = (math.exp(math.log(2) * (1 + s * 12.706205)) for s in (-1, 1))
    assert found.interval == pytest.approx((low, high), rel=1e-5)


def test_conflict_share_with_wilson() -> None:
    found = summarized(many([-0.1] * 3 + [0.2] * 7)).overall.conflict
    assert found.value == pytest.approx(0.3)
    assert found.interval == pytest.approx((0.1077913, 0.6032219), abs=1e-6)


def test_an_interval_needs_six_batches() -> None:
    five = summarized(many([0.1, 0.2, 0.3, 0.4, 0.5])).overall.cosine
    assert five.interval is None and five.note == "an interval needs 6 batches"
    six = summarized(many([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])).overall.cosine
    assert six.value == pytest.approx(0.35) and six.interval is not None
    assert 0.1 <= six.interval.low < 0.35 < six.interval.high <= 0.6


def test_spearman_brown_and_disattenuation_by_hand() -> None:
    assert whole_from_halves(np.array(0.5)) == pytest.approx(2 / 3)
    found = summarized(many([0.2] * 8, halves=(0.5, 0.2))).overall
    assert found.und_reliability.value == pytest.approx(2 / 3)
    assert found.gen_reliability.value == pytest.approx(0.4 / 1.2)
    ceiling = math.sqrt(2 / 3 * 1 / 3)
    assert found.ceiling.value == pytest.approx(ceiling)
    assert found.corrected.value == pytest.approx(0.2 / ceiling)
    assert found.sentence == (
        "pairuni: median cosine 0.200 [0.200, 0.200] over 8 batches, 0 % of them in conflict; "
        "noise ceiling 0.471, corrected 0.424 [0.424, 0.424]."
    )


def test_noise_is_corrected_in_made_up_gradients() -> None:
    # true cosine 0.6, noise in 4,000 dimensions as strong as the signal in each half
    draw = np.random.default_rng(0)
    size = 4000
    und = np.zeros(size)
    und[0] = 1.0
    gen = np.zeros(size)
    gen[:2] = 0.6, 0.8
    rows = []
    for step in range(40):
        halves = [
            [true + draw.normal(0, size**-0.5, size) for _ in range(2)] for true in (und, gen)
        ]
        (u0, u1), (g0, g1) = halves
        grams = [(a @ a, a @ b, b @ b) for a, b in ((u0 + u1, g0 + g1), (u0, u1), (g0, g1))]
        plain = [tuple(float(number) for number in gram) for gram in grams]
        rows.append(
            msgspec.structs.replace(
                row(0.0, step), tasks=plain[0], und_halves=plain[1], gen_halves=plain[2]
            )
        )
    found = summarized(rows).overall
    assert found.cosine.value == pytest.approx(0.4, abs=0.02)  # 0.6 * 2/3
    assert found.corrected.value == pytest.approx(0.6, abs=0.03)
    assert found.corrected.interval is not None
    assert found.corrected.interval.low < 0.6 < found.corrected.interval.high


def test_noise_alone_is_not_corrected() -> None:
    found = summarized(many([0.2] * 8, halves=(-0.1, 0.5))).overall
    assert found.corrected.value is None and found.ceiling.value is None
    assert found.sentence == (
        "pairuni: median cosine 0.200 [0.200, 0.200] over 8 batches, 0 % of them in conflict; not "
        "corrected for noise, since the halves of an understanding batch do not point the same way "
        "(median cosine -0.100), so that at this batch size its gradient is noise."
    )


def test_halves_that_were_not_taken_are_not_corrected_for() -> None:
    found = summarized(many([0.2] * 8, halves=None)).overall
    assert found.corrected.note == "no batch was taken in halves"
    assert found.und_reliability.value is None


def test_an_uncertain_reliability_gives_no_interval() -> None:
    rows = [row(0.2, n, halves=(0.3 if n % 2 else -0.1, 0.5)) for n in range(9)]
    rows += [row(0.2, n, halves=(0.05, 0.5)) for n in range(9, 11)]
    found = summarized(rows).overall.corrected
    assert found.value is not None and found.interval is None
    assert found.note is not None and found.note.endswith("% of the draws have no reliability")


def test_blocks_in_conflict() -> None:
    rows = [row(0.1, n) for n in range(6)]
    rows += [row(c, n, block="layers.0") for n, c in enumerate([0.1] * 5 + [-0.1])]
    rows += [row(-0.2, n, block="layers.1") for n in range(6)]
    found = summarized(rows)
    assert [one.block for one in found.blocks] == ["layers.0", "layers.1"]
    assert found.conflicting == ("layers.1",)
    assert found.block_conflict.value == pytest.approx((5 * 0.5 + 1.0) / 6)


def test_raw_rows_stand_before_preconditioned_ones() -> None:
    rows = [msgspec.structs.replace(row(0.5), preconditioned=True), row(0.1)]
    found = scenarios(gradient_table([rows]))
    assert [(one.preconditioned, one.overall.cosine.value) for one in found] == [
        (False, pytest.approx(0.1)),
        (True, pytest.approx(0.5)),
    ]


def test_curve_is_a_moving_median() -> None:
    table = gradient_table([many([0.0, 0.1, 0.2, 0.9, 0.4])])
    found = curve(table, "pairuni", window=3)
    assert found.steps == (0, 1, 2, 3, 4)
    assert found.median == pytest.approx((0.05, 0.1, 0.2, 0.4, 0.65))
    assert all(
        low <= middle <= high
        for low, middle, high in zip(found.low, found.median, found.high, strict=True)
    )
    assert curve(table, "nobody").steps == ()


def test_scenarios_meet_batch_by_batch() -> None:
    ours, theirs = [0.3, 0.1, 0.4, 0.2, 0.5, 0.35], [0.2, 0.05, 0.3, 0.1, 0.45, 0.3]
    rows = many(ours) + many(theirs, "random") + [row(0.9, 99)]  # a step that only one has
    (found,) = compare_scenarios(gradient_table([rows]), "pairuni")
    assert found.batches == 6
    assert found.difference.value == pytest.approx((sum(ours) - sum(theirs)) / 6)
    assert found.p == pytest.approx(2 / 64)  # every batch is in favor
    assert found.left_out == (1, 0, 0)
    assert found.sentence.endswith("; left out: 1 of pairuni without a counterpart.")


def test_exact_permutation_of_batches_by_hand() -> None:
    # differences 0.2, 0.1, -0.1: of the 8 signed sums, 6 are at least as large as |0.2|
    rows = many([0.4, 0.3, 0.1]) + many([0.2, 0.2, 0.2], "random")
    (found,) = compare_scenarios(gradient_table([rows]), "pairuni")
    assert found.p == pytest.approx(6 / 8)


def test_a_clear_contrast_in_words() -> None:
    draw = np.random.default_rng(1)
    noise = draw.normal(0, 0.02, (2, 30))
    rows = many((0.3 + noise[0]).tolist()) + many((0.1 + noise[1]).tolist(), "random")
    (found,) = compare_scenarios(gradient_table([rows]), "pairuni")
    assert found.word == "agree more" and found.p == pytest.approx(1 / 100_001)
    assert found.sentence.startswith(
        "pairuni against random: gradients agree more, p < .001 (one test in 30 batches); "
        "difference of the mean cosine over all shared parameters +0."
    )
    (turned,) = compare_scenarios(gradient_table([rows]), "random")
    assert turned.word == "agree less"


def test_contrasts_are_corrected_together() -> None:
    rows = many([0.5] * 6) + many([0.1] * 6, "a") + many([0.1] * 6, "b")
    found = compare_scenarios(gradient_table([rows]), "pairuni")
    assert [one.p for one in found] == pytest.approx([2 / 64] * 2)
    assert [one.corrected for one in found] == pytest.approx([4 / 64] * 2)
    assert {one.word for one in found} == {"cannot tell"}


def test_scenarios_without_common_batches_are_not_compared() -> None:
    rows = many([0.5] * 6) + [row(0.1, n, scenario="random") for n in range(100, 106)]
    (found,) = compare_scenarios(gradient_table([rows]), "pairuni")
    assert found.p is None and found.word == "cannot tell"
    assert found.sentence == (
        "pairuni against random: not compared, they share no batches with a cosine; left out: 6 of "
        "pairuni without a counterpart, 6 of random without a counterpart."
    )


def test_one_test_covers_all_blocks() -> None:
    """All shared parameters together show nothing; one block of three does, in every batch."""
    draw = np.random.default_rng(4)
    noise = draw.normal(0, 0.05, (2, 4, 16))
    rows = []
    for side, name in enumerate(("pairuni", "random")):
        for block, line in zip((ALL, "norm", "head", "lm_0"), noise[side], strict=True):
            shift = 0.3 * (name == "pairuni" and block == "norm")
            rows += many((line + shift).tolist(), name, block=block)
    (found,) = compare_scenarios(gradient_table([rows]), "pairuni")
    assert [one.block for one in found.blocks] == [ALL, "norm", "head", "lm_0"]
    assert [one.sign for one in found.blocks] == [0, 1, 0, 0]
    assert found.word == "agree more" and found.p == found.blocks[1].p
    held = found.difference.interval
    assert held is not None and held.low <= 0 <= held.high
    assert "(one test of all shared parameters and 3 blocks in 16 batches)" in found.sentence
    assert "; by block norm +0.2" in found.sentence
    (turned,) = compare_scenarios(gradient_table([rows]), "random")
    assert turned.word == "agree less"


def test_blocks_that_go_both_ways_are_said_to() -> None:
    draw = np.random.default_rng(5)
    rows = []
    for name, way in (("pairuni", 1), ("random", 0)):
        for block, shift in ((ALL, 0.0), ("norm", 0.4), ("head", -0.4)):
            line = way * shift + draw.normal(0, 0.05, 16)
            rows += many(line.tolist(), name, block=block)
    (found,) = compare_scenarios(gradient_table([rows]), "pairuni")
    assert found.word == "agree more in some blocks and less in others"
    ours, theirs = alignments(gradient_table([rows]))
    assert ours.stance == "agree in some blocks and fight in others"
    assert theirs.stance == "cannot tell"


def test_no_word_without_its_interval_and_no_interval_against_the_word() -> None:
    """Whatever the cosines: "cannot tell" stands beside an interval that holds 0."""
    for number in range(3):
        draw = np.random.default_rng(number)
        rows = []
        for name, level in (("pairuni", 0.02), ("a", 0.0), ("b", 0.01)):
            for block in (ALL, "norm", "head"):
                rows += many(draw.normal(level, 0.03, 12).tolist(), name, block=block)
        table = gradient_table([rows])
        for one in (*compare_scenarios(table, "pairuni"), *alignments(table)):
            for block in one.blocks:
                held = block.mean.interval
                assert held is not None
                assert (held.low <= 0 <= held.high) == (block.sign == 0)


def test_alignment_counts_what_it_leaves_out() -> None:
    cosines = [-0.1, -0.2, -0.15, -0.12, -0.3, -0.21, -0.18]
    rows = [*many(cosines), row(0.9, 7, norms=(0.0, 1.0))]
    (found,) = alignments(gradient_table([rows]))
    assert (found.stance, found.batches, found.silent) == ("fight", 7, 1)
    assert found.p == pytest.approx(2 / 2**7), "one test, nothing to correct for"
    assert found.sentence.startswith("pairuni: mean cosine -0.180 [")
    assert found.sentence.endswith("left out: 1 in which a task had no gradient.")
    (nothing,) = alignments(gradient_table([[row(0.5, norms=(0.0, 1.0))]]))
    assert nothing.p is None
    assert nothing.sentence == (
        "pairuni: not tested, no batch has gradients of both tasks; left out: 1 in which a task "
        "had no gradient."
    )


def test_batches_of_several_runs_meet_within_their_run() -> None:
    first = many([0.3] * 3) + many([0.1] * 3, "random")
    second = many([0.4] * 3) + many([0.1] * 3, "random")
    (found,) = compare_scenarios(gradient_table([first, second]), "pairuni")
    assert found.batches == 6


def test_reading_rows_of_a_folder(tmp_path: Path) -> None:
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in many([0.1, 0.2]))
    (tmp_path / "gradients.jsonl").write_bytes(lines + b'{"scenario": "torn')
    table = read_gradients([tmp_path, tmp_path / "gradients.jsonl"])
    assert table["run"].tolist() == [0, 0, 1, 1]
    assert table["cosine"].tolist() == pytest.approx([0.1, 0.2] * 2)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gradients\.jsonl is missing"):
        read_gradients([tmp_path])
    (tmp_path / "gradients.jsonl").write_bytes(b'{"scenario": 1}\n')
    with pytest.raises(UserError, match=r"gradients\.jsonl, line 1: cannot be read"):
        read_gradients([tmp_path])


def points(*pairs: tuple[float, float]) -> list[ArmPoint]:
    return [ArmPoint(f"arm {n}", cosine, score) for n, (cosine, score) in enumerate(pairs)]


def test_correlation_by_hand() -> None:
    # x = 1 2 3 4 5, y = 2 1 4 3 5: r = 0.8; z = 1.098612 -+ 1.959964 / sqrt(2)
    found = correlate(points((1, 2), (2, 1), (3, 4), (4, 3), (5, 5)))
    assert found.value == pytest.approx(0.8)
    low, high = (math.tanh(1.0986123 + s * 1.3859038) for s in (-1, 1))
    assert found.interval == pytest.approx((low, high), abs=1e-6)
    assert found.p == pytest.approx(0.1040880, abs=1e-6)  # t = 0.8 sqrt(3 / 0.36), 3 freedom
    assert found.sentence == "Over 5 arms cosine and score correlate by 0.80 [-0.28, 0.99]."


def test_too_few_arms_are_not_correlated() -> None:
    found = correlate(points((1, 2), (2, 1), (3, 4), (math.nan, 3)))
    assert found.value is None and len(found.arms) == 3
    assert found.sentence == (
        "Cosine and score are not correlated here: it needs at least 4 arms, and there are 3."
    )


def test_arms_that_do_not_differ_are_not_correlated() -> None:
    found = correlate(points((1, 2), (2, 2), (3, 2), (4, 2)))
    assert found.reason == "all 4 arms have the same score"


def test_arms_on_one_line_have_no_interval() -> None:
    found = correlate(points((1, 1), (2, 2), (3, 3), (4, 4)))
    assert found.value == 1.0 and found.interval is None


def test_the_table_of_no_rows_is_empty() -> None:
    assert isinstance(gradient_table([[]]), pd.DataFrame) and scenarios(gradient_table([[]])) == ()
