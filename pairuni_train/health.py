"""What goes wrong in RL without an error message, said in words.

A run that trains on nothing looks healthy: losses are finite, rewards are logged. Each alarm looks
at one step's metrics and the few before, and either warns or stops the run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

_PATIENCE = 10  # steps in a row before a silent failure is called one


class Alarm(NamedTuple):
    """A finding about a step; `stops` ends the run."""

    text: str
    stops: bool


class HealthMonitor:
    """Remembers what it takes to tell a quiet step from a dead run.

    Args:
        trained: The tasks whose loss counts.
    """

    def __init__(self, trained: Collection[str] = ("und", "gen")) -> None:
        self._trained = tuple(trained)
        self._learned = False
        self._dead: dict[str, int] = {}
        self._rewards: dict[str, deque[float]] = {}
        self._first_entropy: dict[str, float] = {}

    def check(self, metrics: Mapping[str, float]) -> list[Alarm]:
        """The alarms of one step, by the trainer's own metric names."""
        found = [*self._broken(metrics), *self._silent(metrics)]
        for task in ("und", "gen"):
            if f"reward/{task}" in metrics:
                found += self._task(task, metrics)
            if self._lasts(f"declined/{task}", metrics.get(f"declined/{task}") == 1.0):
                found.append(
                    Alarm(f"{task}: no reward judged a rollout in {_PATIENCE} steps", False)
                )
        return found

    def _broken(self, metrics: Mapping[str, float]) -> list[Alarm]:
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(metrics[name])]
        return [
            Alarm(f"{name} is {metrics[name]}: the weights would be lost", True) for name in bad
        ]

    def _silent(self, metrics: Mapping[str, float]) -> list[Alarm]:
        """No gradient although there is something to teach, or none since the start.

        A task that is solved has steps without a group that has spread: they end nothing.
        """
        zero = metrics["grad_norm"] == 0.0
        self._learned |= not zero
        live = any(metrics.get(f"live_groups/{task}", 0.0) > 0.0 for task in self._trained)
        if not self._lasts("grad_norm", zero and (live or not self._learned)):
            return []
        return [
            Alarm(
                f"the gradient has been exactly zero for {_PATIENCE} steps: no group has spread, "
                "or nothing is trainable",
                True,
            )
        ]

    def _task(self, task: str, metrics: Mapping[str, float]) -> list[Alarm]:
        found = []
        if self._lasts(f"live/{task}", metrics[f"live_groups/{task}"] == 0.0):
            found.append(Alarm(f"{task}: no group had spread for {_PATIENCE} steps", False))
        ratio = metrics.get(f"first_ratio_off/{task}", 0.0)
        if ratio > 0.01:
            found.append(
                Alarm(
                    f"{task}: the ratio is off 1 by {ratio:.3g} on the first inner step: the old "
                    "log-probs are not those of the policy that trains",
                    True,
                )
            )
        history = self._rewards.setdefault(task, deque(maxlen=_PATIENCE))
        history.append(metrics[f"reward/{task}"])
        if len(history) == _PATIENCE and len(set(history)) == 1:
            found.append(Alarm(f"{task}: the reward has not moved for {_PATIENCE} steps", False))
            history.clear()
        entropy = metrics.get(f"entropy/{task}")  # missing where no token was scored
        if entropy is not None:
            first = self._first_entropy.setdefault(task, entropy)
            if self._lasts(f"entropy/{task}", first > 0 and entropy < 0.02 * first):
                found.append(Alarm(f"{task}: the entropy fell below 2 % of its start", False))
        return found

    def _lasts(self, name: str, bad: bool) -> bool:
        """True each time a condition has held for `_PATIENCE` steps in a row."""
        self._dead[name] = self._dead.get(name, 0) + 1 if bad else 0
        return bad and self._dead[name] % _PATIENCE == 0
