"""Where the marks of a chart stand, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pairuni_eval.report.charts import (
    Series,
    Span,
    Tick,
    interval_chart,
    legible,
    line_chart,
    smooth,
    ticks,
)
from pairuni_eval.report.slope_chart import Ends, apart, slope_chart


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 1.0, (0.0, 0.5, 1.0)),
        (0.0, 300.0, (0.0, 100.0, 200.0, 300.0)),
        (0.41, 0.58, (0.4, 0.45, 0.5, 0.55, 0.6)),
        (-0.13, 0.26, (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3)),
        (1444.0, 1483.2, (1440.0, 1450.0, 1460.0, 1470.0, 1480.0, 1490.0)),
    ],
)
def test_ticks_are_round_and_hold_both_ends(
    low: float, high: float, marks: tuple[float, ...]
) -> None:
    assert ticks(low, high) == marks


def test_ticks_of_a_single_number_are_around_it() -> None:
    marks = ticks(5.0, 5.0)
    assert marks[0] < 5.0 < marks[-1]


def test_a_moving_mean_takes_what_exists() -> None:
    found = smooth(np.array([1.0, np.nan, 3.0, 8.0]), 3)
    assert found[[0, 2, 3]] == pytest.approx([1.0, 5.5, 5.5])
    assert np.isnan(found[1])


@pytest.mark.parametrize("count", [1, 2, 24])
def test_a_line_shorter_than_the_window_stays_as_long_as_it_is(count: int) -> None:
    found = smooth(np.arange(count, dtype=np.float64), 25)
    assert len(found) == count
    assert 0 <= found.min() <= found.max() <= count - 1


def series(*values: float) -> Series:
    return Series("one", 0, np.arange(len(values), dtype=float), np.array(values))


def test_a_line_runs_from_corner_to_corner_of_its_axes() -> None:
    chart = line_chart("Reward", [series(0.0, 1.0, 2.0)])
    assert chart is not None and chart.smoothed == 1
    assert chart.lines[0].line == "M46.0 166.0L189.0 88.0L332.0 10.0"
    assert chart.lines[0].faint == "" and chart.zero is None
    assert [tick.label for tick in chart.x_ticks] == ["0", "0.5", "1", "1.5", "2"]
    assert chart.label == "Reward over training steps: one from 0 to 2"


def test_a_missing_number_interrupts_the_line() -> None:
    chart = line_chart("Reward", [series(0.0, np.nan, 2.0)])
    assert chart is not None
    assert chart.lines[0].line == "M46.0 166.0M332.0 10.0"


def test_zero_is_marked_where_the_axis_crosses_it() -> None:
    chart = line_chart("Cosine", [series(-1.0, 1.0)])
    assert chart is not None and chart.zero == pytest.approx(88.0)


def test_long_lines_are_smoothed_and_cut_to_few_points() -> None:
    chart = line_chart("Reward", [series(*(float(n % 2) for n in range(4000)))])
    assert chart is not None and chart.smoothed == 333
    assert chart.lines[0].line.count("L") == 239 and chart.lines[0].faint.count("L") == 239


def test_without_numbers_there_is_no_chart() -> None:
    assert line_chart("Reward", [series(np.nan, np.nan)]) is None
    assert slope_chart("a", "b", []) is None
    assert interval_chart("Cosine", [("lm", [])]) is None


def test_labels_that_touch_are_spread_around_their_middle() -> None:
    assert apart([100.0, 104.0]) == [95.0, 109.0]
    assert apart([104.0, 100.0, 200.0]) == [109.0, 95.0, 200.0]
    assert apart([50.0, 50.0, 63.0]) == pytest.approx([40.333, 54.333, 68.333], abs=1e-3)
    assert apart([30.0, 31.0], least=30.0) == [30.0, 44.0]


def test_a_slope_stands_on_the_range_of_all() -> None:
    lines = [
        Ends("POPE", "better", 0.5, 1.0, "50.0", "100.0"),
        Ends("MME", "cannot-tell", 0.0, 0.25, "0.0", "500.0"),
    ]
    chart = slope_chart("GRPO", "PairUni", lines)
    assert chart is not None
    first, second = chart.slopes
    assert (first.y_before, first.y_after) == (95.0, 30.0)
    assert (second.y_before, second.y_after) == (160.0, 127.5)
    assert chart.label == "From GRPO to PairUni: POPE 50.0 to 100.0, MME 0.0 to 500.0"


def test_intervals_stand_around_zero() -> None:
    spans = [Span("a", 0, 0.1, 0.0, 0.2), Span("b", 1, -0.1, None, None)]
    chart = interval_chart("Cosine", [("head", spans)])
    assert chart is not None
    assert [tick.label for tick in chart.ticks] == ["-0.1", "0", "0.1", "0.2"]
    one, two = chart.rows[0].marks
    assert (one.x_low, one.x_high) == (chart.zero, chart.ticks[-1].place)
    assert two.x == two.x_low == two.x_high == chart.ticks[0].place


def test_labels_of_an_axis_that_would_touch_are_left_out() -> None:
    marks = [Tick(place, "0.005") for place in (0.0, 40.0, 60.0, 100.0)]
    assert [one.label for one in legible(marks)] == ["0.005", "0.005", "", "0.005"]
    assert [one.place for one in legible(marks)] == [0.0, 40.0, 60.0, 100.0]
