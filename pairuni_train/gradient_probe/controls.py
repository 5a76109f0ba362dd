"""Cases whose cosine is known, by which an offline probe shows that it can be believed.

They run through the model, the objective and the probe as everything else does, with advantages of
+1 and -1 by turns in every group, so that there is always a gradient:

    same   the same rollouts as both tasks             1
    flip   the same rollouts, advantages negated      -1
    angle  a mixture of two tasks' gradients u and g   the cosine that the mixture was made for

The mixture is one accumulation over the rollouts of both tasks, the advantages of each scaled: the
gradient is linear in them. a u + b g has the cosine c with u for a/|u| and b/|g| in the ratio
c - s q : s, where q is the cosine of u and g and s = sqrt((1 - c^2) / (1 - q^2)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from pairuni_eval.errors import UserError
from pairuni_eval.models.base import Task
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import Engine
from pairuni_train.gradient_probe.gram import ALL, Gram, Probe
from pairuni_train.grpo.rollouts import TASKS, Track
from pairuni_train.grpo.update import Compared, accumulate, micro_batches, old_log_probs

ANGLE = 0.5  # the cosine that the mixture is made for
_WITHIN = 1e-3  # float32 sums of a mixture in another order


class Control(NamedTuple):
    """A case, what its cosine is and what the probe says."""

    name: str
    expected: float
    found: float

    @property
    def holds(self) -> bool:
        """Whether the probe is right."""
        return abs(self.found - self.expected) <= _WITHIN


class Bench:
    """Where the cases are run.

    Args:
        engine: Runs the model.
        policy: The model.
        trained: Its parameters that train, by name.
        recipe: Settings.
    """

    def __init__(
        self,
        engine: Engine,
        policy: nn.Module,
        trained: Mapping[str, nn.Parameter],
        recipe: Recipe,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._trained = trained
        self._recipe = recipe

    def run(self, tracks: Mapping[Task, Track]) -> list[Control]:
        """Every control on some rollouts.

        Raises:
            UserError: for the first that does not hold.
        """
        und, gen = ({task: 1.0} for task in TASKS)
        between = self._gram(tracks, und, gen)
        a, b = mixture(between, ANGLE)
        controls = [
            Control("same", 1.0, self._gram(tracks, und, und).cosine),
            Control("flip", -1.0, self._gram(tracks, und, {"und": -1.0}).cosine),
            Control("angle", ANGLE, self._gram(tracks, und, {"und": a, "gen": b}).cosine),
        ]
        for control in controls:
            if not control.holds:
                raise UserError(
                    f"The probe cannot be believed: its control '{control.name}' gives a cosine of "
                    f"{control.found:.6f} where {control.expected:g} is right.",
                    hint="Probe in float32: --set precision=no",
                )
        return controls

    def _gram(
        self,
        tracks: Mapping[Task, Track],
        first: Mapping[Task, float],
        second: Mapping[Task, float],
    ) -> Gram:
        """The Gram of two sums of both tasks' gradients."""
        shared = self._policy.shared_parameters()  # type: ignore[operator]
        probe = Probe(self._trained, shared)
        for slot, factors in zip(TASKS, (first, second), strict=True):
            for task, factor in factors.items():
                self._accumulate(tracks[task], factor)
            self._engine.sum_gradients()
            probe.take(slot, 0)
        found = self._engine.total_grams(probe.grams().raw)[ALL].tasks
        probe.give_back()
        for parameter in self._trained.values():
            parameter.grad = None
        return found

    def _accumulate(self, track: Track, factor: float) -> None:
        by_turns_N = 1.0 - 2.0 * (torch.arange(len(track.group_N)) % 2)
        lively = track._replace(
            advantage_N=factor * by_turns_N, live_P=torch.ones_like(track.live_P)
        )
        batches = micro_batches(self._policy, lively, self._recipe)
        old = old_log_probs(self._engine, None, batches, self._recipe)
        sequences = float(max(len(track.group_N), 1))
        accumulate(
            self._engine,
            Compared(batches, old),
            self._recipe,
            task=track.task,
            sequences=sequences,
        )


def mixture(gram: Gram, cosine: float) -> tuple[float, float]:
    """Factors (a, b) for which a u + b g has that cosine with u."""
    q = gram.cosine
    s = math.sqrt((1 - cosine**2) / (1 - q**2))
    return (cosine - s * q) / math.sqrt(gram.aa), s / math.sqrt(gram.bb)
