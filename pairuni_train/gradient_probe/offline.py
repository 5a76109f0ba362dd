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
import torch
from rich.console import Console

from pairuni_eval.models.base import Task
from pairuni_eval.models.checkpoint import find_folder
from pairuni_eval.progress import Progress
from pairuni_eval.records import GradientRow
from pairuni_eval.store.json_lines import append, encode_lines, read_lines
from pairuni_eval.store.training import GRADIENTS
from pairuni_eval.store.write import exclusive, write_whole
from pairuni_train.checkpoints import claim, keeps_training, load_kept
from pairuni_train.clock import Clock
from pairuni_train.config import Backbone
from pairuni_train.distributed.engine import Engine, start_process
from pairuni_train.gradient_probe.capture import Look, look_at, take_apart
from pairuni_train.gradient_probe.controls import Bench, Control
from pairuni_train.gradient_probe.gram import Probe
from pairuni_train.gradient_probe.rows import rows_of
from pairuni_train.gradient_probe.scenarios import Scenario, addressed, read_scenario
from pairuni_train.grpo.rollouts import TASKS, Sampling, Track, sample_track
from pairuni_train.grpo.sampler import PairOrder, slice_of
from pairuni_train.grpo.trainable_parameters import choose_trained, restore_optimizer
from pairuni_train.grpo.update import Compared, micro_batches, old_log_probs, sequences_of
from pairuni_train.pair_data.record import Pair
from pairuni_train.setup import Judging, check_weights, load_judging, load_trainable

CONTROLS = "controls.json"


class ProbeJob(NamedTuple):
    """What a user asks of `pairuni-train probe`.

    Attributes:
        backbone: Its checkpoint is the one that is probed.
        pairs: The folder of pair sets.
        scenarios: Names of arms.
        batches: Batches of each scenario.
        weighting: Of the pairs; "none" counts them alike.
    """

    backbone: Backbone
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
    judging = load_judging(job.backbone, job.weighting)
    scenarios = [read_scenario(name, job.pairs, job.seed) for name in job.scenarios]
    with exclusive(job.out) if first else nullcontext():
        prober = _Prober(job, judging, accelerator)
        if first:
            claim(job.out, _settings(job, scenarios, prober.weights))
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
                        found = list(rows_of(prober.look(scenario, step), scenario=scenario.name))
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

    def __init__(self, job: ProbeJob, judging: Judging, accelerator: Any) -> None:
        backbone = job.backbone
        self._job = job
        model = load_trainable(backbone.checkpoint, accelerator.device)
        self.weights: str = model.identity.weights
        self._policy = model.policy
        self._trained = choose_trained(self._policy, backbone)
        self._blocks: dict[str, str] = self._policy.shared_parameters()
        self._optimizer = torch.optim.AdamW(self._trained.values(), betas=backbone.betas)
        folder = find_folder(backbone.checkpoint)
        conditioned = keeps_training(folder) and backbone.lora is None
        if conditioned:
            restore_optimizer(self._policy, self._optimizer, load_kept(folder).optimizer)
        blocks = {block for name, block in self._blocks.items() if name in self._trained}
        self.rows_per_batch = (len(blocks) + 1) * (1 + conditioned)
        bfloat16 = backbone.precision == "bf16"
        self._engine = Engine(accelerator, self._policy, bfloat16=bfloat16)
        self._rewards, self._weighting = judging

    def controls(self, scenario: Scenario) -> list[Control]:
        """The cases with a known answer, on the first batch of a scenario."""
        _, tracks = self._tracks(scenario, 0)
        bench = Bench(self._engine, self._policy, self._trained, self._job.backbone)
        return bench.run(tracks)

    def look(self, scenario: Scenario, step: int) -> Look:
        """The gradients of a batch."""
        engine, backbone = self._engine, self._job.backbone
        rows, tracks = self._tracks(scenario, step)
        sequences = sequences_of(tracks, backbone, engine)
        compared = {task: self._compared(track) for task, track in tracks.items()}
        held = Probe(self._trained, self._blocks)
        take_apart(engine, held, compared, backbone, sequences, halves=True)
        return look_at(
            engine, held, self._trained, self._optimizer, tracks, step=step, rows=len(rows)
        )

    def _tracks(self, scenario: Scenario, step: int) -> tuple[list[Pair], dict[Task, Track]]:
        """The rows of a batch over all ranks, and the rollouts of this rank's."""
        job, engine = self._job, self._engine
        check_weights(job.weighting, self._weighting, scenario.pairs)
        count = job.backbone.pairs_per_step
        rows = PairOrder(scenario.pairs, pairs_per_step=count, seed=job.seed).of_step(step)
        mine = slice_of(rows, engine.rank, engine.ranks)
        with engine.whole(), engine.precision():
            # Step 0 throughout: a half has the same rollouts in whatever batch it stands.
            tracks = {
                task: sample_track(
                    self._policy, addressed(mine, task), self._sampling(task), 0, Clock()
                )
                for task in TASKS
            }
        return rows, tracks

    def _sampling(self, task: Task) -> Sampling:
        backbone = self._job.backbone
        return Sampling(
            task,
            backbone.task(task),
            self._rewards[task],
            self._weighting,
            backbone.rollout_batch,
            self._job.seed,
        )

    def _compared(self, track: Track) -> Compared:
        batches = micro_batches(self._policy, track, self._job.backbone)
        return Compared(batches, old_log_probs(self._engine, None, batches, self._job.backbone))


def _settings(job: ProbeJob, scenarios: Sequence[Scenario], weights: str) -> dict[str, Any]:
    """All that a row depends on; batches may be added."""
    sets = {}
    for scenario in scenarios:
        ids = "\n".join(pair.id for pair in scenario.pairs)
        digest = hashlib.sha256(ids.encode()).hexdigest()
        sets[scenario.name] = {"from": scenario.origin, "pairs": digest}
    return {
        "backbone": msgspec.to_builtins(job.backbone),
        "weights": weights,
        "scenarios": sets,
        "batches": job.batches,
        "seed": job.seed,
        "weighting": job.weighting,
    }


def _whole_batches(path: Path, rows_per_batch: int) -> list[GradientRow]:
    """The rows that an earlier probe left, without those of a batch that was cut off.

    Raises:
        UserError: if a whole line is no row.
    """
    rows = read_lines(path, msgspec.json.Decoder(GradientRow).decode, hint=f"Delete {path}.")
    counts = Counter((row.scenario, row.step) for row in rows)
    return [row for row in rows if counts[row.scenario, row.step] == rows_per_batch]
