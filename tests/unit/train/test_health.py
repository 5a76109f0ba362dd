"""Each alarm rings when it should, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from pairuni_train.health import Alarm, HealthMonitor

QUIET = {
    "loss": 0.0,
    "grad_norm": 1.0,
    "reward/und": 0.5,
    "live_groups/und": 0.5,
    "first_ratio_off/und": 0.0,
    "entropy/und": 0.4,
}


def heard(*steps: dict[str, Any]) -> list[tuple[int, Alarm]]:
    """The alarms of some steps, each a change of a quiet one whose reward moves."""
    monitor = HealthMonitor()
    return [
        (number, alarm)
        for number, changes in enumerate(steps)
        for alarm in monitor.check({**QUIET, "reward/und": 0.5 + number / 1000, **changes})
    ]


def test_a_healthy_run_is_silent() -> None:
    assert heard(*[{}] * 50) == []


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stops_the_run_at_once(name: str, value: float) -> None:
    ((step, alarm),) = heard({}, {name: value})
    assert (step, alarm.stops) == (1, True)
    assert alarm.text.startswith(f"{name} is {value}")


def test_a_step_that_scored_no_token_has_no_entropy_to_fall() -> None:
    monitor = HealthMonitor()
    quiet = {key: value for key, value in QUIET.items() if key != "entropy/und"}
    for number in range(30):
        moved = {"reward/und": 0.5 + number / 1000}
        assert monitor.check((QUIET if number % 3 == 0 else quiet) | moved) == []


def test_a_gradient_of_zero_stops_after_ten_steps() -> None:
    assert heard(*[{"grad_norm": 0.0}] * 9, {}, *[{"grad_norm": 0.0}] * 9) == []
    ((step, alarm),) = heard(*[{"grad_norm": 0.0}] * 10)
    assert (step, alarm.stops) == (9, True)
    assert "exactly zero for 10 steps" in alarm.text


def test_a_task_that_is_solved_goes_on() -> None:
    """Later prompts may have spread again: the gradient was zero for lack of anything to teach."""
    solved = {"grad_norm": 0.0, "live_groups/und": 0.0, "reward/und": 1.0}
    assert not any(alarm.stops for _, alarm in heard({}, *[solved] * 30))


def test_a_reward_that_never_had_spread_stops() -> None:
    found = heard(*[{"grad_norm": 0.0, "live_groups/und": 0.0}] * 10)
    assert [alarm.stops for step, alarm in found if step == 9] == [True, False]


def test_spread_in_a_task_that_does_not_count_is_no_reason_to_stop() -> None:
    monitor = HealthMonitor(trained=["gen"])
    step = {**QUIET, "live_groups/gen": 0.0, "reward/gen": 1.0, "entropy/gen": 0.1}
    alarms = [monitor.check(step)]
    alarms += [monitor.check({**step, "grad_norm": 0.0}) for _ in range(20)]
    assert not any(alarm.stops for some in alarms for alarm in some)


def test_a_task_without_live_groups_warns_every_ten_steps() -> None:
    found = heard(*[{"live_groups/und": 0.0}] * 20)
    assert [step for step, _ in found] == [9, 19]
    assert {alarm.stops for _, alarm in found} == {False}
    assert found[0][1].text == "und: no group had spread for 10 steps"


def test_a_task_that_no_reward_judges_warns() -> None:
    """Its reward is not among the metrics, so nothing else would tell."""
    monitor = HealthMonitor()
    steps = [monitor.check({**QUIET, "declined/gen": 1.0}) for _ in range(10)]
    (alarm,) = (one for one in steps[9] if one.text.startswith("gen"))
    assert (alarm.text, alarm.stops) == ("gen: no reward judged a rollout in 10 steps", False)
    assert not any(steps[:9])


def test_a_ratio_far_from_one_stops_the_run() -> None:
    assert heard({"first_ratio_off/und": 0.009}) == []
    ((_, alarm),) = heard({"first_ratio_off/und": 0.02})
    assert alarm.stops
    assert "off 1 by 0.02" in alarm.text


def test_a_reward_that_never_moves_warns() -> None:
    ((step, alarm),) = heard(*[{"reward/und": 0.25}] * 19)
    assert (step, alarm.stops) == (9, False)
    assert "has not moved" in alarm.text


def test_an_entropy_collapse_warns() -> None:
    assert heard({}, *[{"entropy/und": 0.01}] * 9) == []
    ((step, alarm),) = heard({}, *[{"entropy/und": 0.007}] * 10)
    assert (step, alarm.stops) == (10, False)
    assert "fell below 2 %" in alarm.text


def test_a_task_that_was_not_asked_is_not_watched() -> None:
    metrics = {key: value for key, value in QUIET.items() if "/" not in key}
    assert HealthMonitor().check(metrics) == []
