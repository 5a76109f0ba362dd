"""The offline probe: both tasks' gradients in several scenarios at one checkpoint (the paper's F8).

Nothing is trained: every batch of every scenario is sampled and scored at the same weights, with
the same number of rollouts. Controls with a known answer run first, and the probe refuses to go on
if one is off. Rows go to `gradients.jsonl` in the probe's folder, controls to `controls.json`; the
same command goes on where an earlier one was stopped.

Pairs count alike unless a weighting is asked for: what is compared is what pairing does, not what
weighting does. Grams come preconditioned too if the checkpoint keeps its optimizer's state.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console

from pairuni_eval.toolkit.models import Task, find_folder
from pairuni_eval.toolkit.progress import Progress
from pairuni_eval.toolkit.store import (
    GRADIENTS,
    GradientRow,
    append,
    encode_lines,
    exclusive,
    read_lines,
    write_whole,
)
from pairuni_train.checkpoints import can_resume, load_resume_state, open_run_dir
from pairuni_train.config import Recipe, as_written
from pairuni_train.distributed.engine import Engine, start_process
from pairuni_train.gradient_probe.controls import ControlCase, ControlCases
from pairuni_train.gradient_probe.rows import gradient_rows
from pairuni_train.gradient_probe.scenarios import Scenario, addressed, read_scenario
from pairuni_train.grpo.batch import task_batches
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.metrics import live_shares
from pairuni_train.grpo.optimizer import make_optimizer
from pairuni_train.grpo.rollouts import TASKS, TaskRollouts, sample_task
from pairuni_train.grpo.sampler import PairSampler, slice_of
from pairuni_train.grpo.trainable_parameters import restore_optimizer, select_trainable
from pairuni_train.grpo.update import capture_task_gradients
from pairuni_train.pair_data.record import Pair
from pairuni_train.phase_timer import PhaseTimer
from pairuni_train.setup import (
    RewardScheme,
    check_weights,
    load_reward_scheme,
    load_trainable,
    samplings,
)

CONTROLS = "controls.json"


class ProbeJob(NamedTuple):
    """What a user asks of `pairuni-train probe`.

    Attributes:
        recipe: Its checkpoint is the one that is probed.
        pairs: The folder of pair sets.
        scenarios: Names of arms.
        batches: Batches of each scenario.
        weighting: Of the pairs; "none" counts them alike.
    """

    recipe: Recipe
    pairs: Path
    scenarios: tuple[str, ...]
    batches: int
    seed: int
    out: Path
    weighting: str = "none"


def probe(job: ProbeJob, console: Console) -> list[GradientRow]:
    """Run a job, or what is left of it; returns all its rows.

    Raises:
        UserError: for whatever the user can mend, and for a control that does not hold.
    """
    accelerator = start_process()
    first = accelerator.is_main_process
    scheme = load_reward_scheme(job.recipe, job.weighting)
    scenarios = [read_scenario(name, job.pairs, job.seed) for name in job.scenarios]
    with exclusive(job.out) if first else nullcontext():
        prober = _Prober(job, scheme, accelerator)
        if first:
            open_run_dir(job.out, _settings(job, scenarios, prober.weights))
        accelerator.wait_for_everyone()
        controls = prober.controls(scenarios[0])
        rows = _whole_batches(job.out / GRADIENTS, prober.rows_per_batch)
        if first:
            write_whole(job.out / CONTROLS, encode_lines(controls))
            write_whole(job.out / GRADIENTS, encode_lines(rows))
        accelerator.wait_for_everyone()
        done = {(row.scenario, row.step) for row in rows}
        with Progress(
            *Progress.get_default_columns(), console=console, disable=not first
        ) as progress:
            for scenario in scenarios:
                steps = range(job.batches)
                for step in progress.track(steps, description=scenario.name):
                    if (scenario.name, step) not in done:
                        found = prober.rows(scenario, step)
                        rows += found
                        if first:
                            append(job.out / GRADIENTS, encode_lines(found))
    return rows


class _Prober:
    """A checkpoint that is looked at.

    Attributes:
        weights: Hash of its weights.
        rows_per_batch: Rows that a batch of a scenario leaves.
    """

    def __init__(self, job: ProbeJob, scheme: RewardScheme, accelerator: Any) -> None:
        recipe = job.recipe
        self._job = job
        model = load_trainable(
            recipe.checkpoint, accelerator.device, compiled=recipe.parallelism.compiled
        )
        self.weights = model.weights
        self._policy = model.policy
        self._parameters = select_trainable(self._policy, recipe.trainable, recipe.lora)
        self._blocks = self._policy.shared_parameters()
        self._optimizer = make_optimizer(self._parameters, recipe.optimizer)
        folder = find_folder(recipe.checkpoint)
        conditioned = can_resume(folder) and recipe.lora is None
        if conditioned:
            restore_optimizer(self._policy, self._optimizer, load_resume_state(folder).optimizer)
        blocks = {block for name, block in self._blocks.items() if name in self._parameters}
        self.rows_per_batch = (len(blocks) + 1) * (1 + conditioned)
        self._engine = Engine(accelerator, self._policy, bfloat16=recipe.parallelism.bfloat16)
        self._weighting = scheme.weighting
        self._sampling = samplings(recipe, scheme, job.seed)

    def controls(self, scenario: Scenario) -> list[ControlCase]:
        """The cases with a known answer, on the first batch of a scenario."""
        _, rollouts = self._sample(scenario, 0)
        cases = ControlCases(
            self._engine,
            self._policy,
            self._parameters,
            self._job.recipe.objective,
            size=self._job.recipe.batch.micro_batch,
        )
        return cases.run(rollouts)

    def rows(self, scenario: Scenario, step: int) -> list[GradientRow]:
        """The gradients of a batch."""
        engine, policy, objective = self._engine, self._policy, self._job.recipe.objective
        size = self._job.recipe.batch.micro_batch
        pairs, rollouts = self._sample(scenario, step)
        batches = task_batches(engine, policy, None, rollouts, objective, size=size)
        held = TaskGradients(self._parameters, self._blocks)
        capture_task_gradients(engine, policy, held, batches, objective, halves=True)
        return gradient_rows(
            engine,
            held,
            self._parameters,
            self._optimizer,
            live_shares(engine, batches),
            scenario=scenario.name,
            step=step,
            rows=len(pairs),
        )

    def _sample(self, scenario: Scenario, step: int) -> tuple[list[Pair], dict[Task, TaskRollouts]]:
        """The rows of a batch over all ranks, and the rollouts of this rank's."""
        job, engine = self._job, self._engine
        check_weights(job.weighting, self._weighting, scenario.pairs)
        count = job.recipe.batch.pairs_per_step
        rows = PairSampler(scenario.pairs, pairs_per_step=count, seed=job.seed).of_step(step)
        mine = slice_of(rows, engine.rank, engine.ranks)
        with engine.unsharded(), engine.precision():
            # Step 0 throughout: a half has the same rollouts in whatever batch it stands.
            rollouts = {
                task: sample_task(
                    self._policy, addressed(mine, task), self._sampling[task], 0, PhaseTimer()
                )
                for task in TASKS
            }
        return rows, rollouts


def _settings(job: ProbeJob, scenarios: Sequence[Scenario], weights: str) -> dict[str, Any]:
    """All that a row depends on; batches may be added."""
    sets = {}
    for scenario in scenarios:
        ids = "\n".join(pair.id for pair in scenario.pairs)
        digest = hashlib.sha256(ids.encode()).hexdigest()
        sets[scenario.name] = {"from": scenario.origin, "pairs": digest}
    return {
        "recipe": as_written(job.recipe),
        "weights": weights,
        "scenarios": sets,
        "batches": job.batches,
        "seed": job.seed,
        "weighting": job.weighting,
    }


def _whole_batches(path: Path, rows_per_batch: int) -> list[GradientRow]:
    """The rows that an earlier probe left, without those of a batch that was cut off.

    Raises:
        UserError: if a whole line is not a row.
    """
    rows = read_lines(path, msgspec.json.Decoder(GradientRow).decode, hint=f"Delete {path}.")
    counts = Counter((row.scenario, row.step) for row in rows)
    return [row for row in rows if counts[row.scenario, row.step] == rows_per_batch]
