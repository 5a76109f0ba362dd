"""The lines that a run writes: what happened in every step.

    metrics.jsonl     a line a step, functions of the seed and the step, over all ranks
    gradients.jsonl   a line for every block that the probe looked at
    fixed.jsonl       a line for each task wherever the fixed prompts were answered
    rollouts.jsonl    a line for each task in some steps: a group as it was sampled
    images/           the pictures that these lines name
    seconds.jsonl     a line a step, what the phases took on the first rank

A resumed run cuts them back to its checkpoint. They then end as those of a run that was never
stopped, byte by byte; only the seconds are measured anew. What fixed prompts earned after so many
steps is written before the checkpoint of that step.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pairuni_eval.toolkit.store import (
    FIXED,
    GRADIENTS,
    METRICS,
    ROLLOUTS,
    FixedRow,
    Pictures,
    append,
    encode_lines,
    keep_lines,
    whole_lines,
)
from pairuni_train.grpo.kept_rollouts import KeptGroup
from pairuni_train.grpo.metrics import Metrics
from pairuni_train.grpo.trainer import StepResult

SECONDS = "seconds.jsonl"


class TrainingJournal:
    """The files of one run folder.

    Args:
        out: The run folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def cut_back(self, steps: int) -> list[Metrics]:
        """Keep the lines of the first `steps` steps; returns their metrics."""
        for name in (METRICS, SECONDS, GRADIENTS, ROLLOUTS):
            cut_back(self._out / name, steps)
        cut_back(self._out / FIXED, steps + 1)  # its steps are those that are done
        return [json.loads(line) for line in whole_lines(self._out / METRICS)]

    def write(self, result: StepResult, fixed: Sequence[FixedRow] = ()) -> None:
        """Add the lines of a step, and what fixed prompts earned after it."""
        append(self._out / GRADIENTS, encode_lines(result.gradients))
        if result.kept:
            self._keep(result.kept)
        for name, numbers in ((SECONDS, result.seconds), (METRICS, result.metrics)):
            line = json.dumps({"step": result.step, **numbers})
            append(self._out / name, line.encode() + b"\n")
        if fixed:
            append(self._out / FIXED, encode_lines(fixed))

    def _keep(self, groups: Sequence[KeptGroup]) -> None:
        """Write groups: their pictures first, so that no line names one that is not there."""
        with Pictures(self._out) as pictures:
            for group in groups:
                for picture in group.pictures:
                    pictures.add(picture)
        append(self._out / ROLLOUTS, encode_lines([group.row for group in groups]))


def cut_back(path: Path, steps: int) -> None:
    """Drop the lines of a JSON-lines file that belong to a step >= `steps`, and a torn last one."""
    keep_lines(path, lambda line: json.loads(line)["step"] < steps)
