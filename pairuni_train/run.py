"""A training run from its first step, or from where it was stopped, to its last checkpoint.

The folder holds `settings.json`, the files of `pairuni_train.journal` and folders
`checkpoint-STEP/`, which `pairuni-eval run --checkpoint` takes as they are. The same command goes
on where an earlier one was stopped, and ends in the same state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console

from pairuni_eval.toolkit.models import Policy
from pairuni_eval.toolkit.store import FixedRow, exclusive
from pairuni_train.checkpoints import (
    ResumeState,
    agreed_checkpoint,
    check_run_dir,
    open_run_dir,
    save_checkpoint,
    save_sharded_checkpoint,
)
from pairuni_train.config import as_written
from pairuni_train.distributed.engine import ends_together
from pairuni_train.grpo.fixed_reward import FixedReward, catch_up, write_rows
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainable_parameters import (
    adapters_of,
    full_weights,
    named_state,
    optimizer_state,
    trainable_parameters,
)
from pairuni_train.grpo.trainer import StepResult
from pairuni_train.health import HealthMonitor
from pairuni_train.journal import TrainingJournal
from pairuni_train.pair_data.stored_pairs import StoredPairs
from pairuni_train.pair_files import find_pairs
from pairuni_train.phase_timer import PhaseTimer
from pairuni_train.plan import check_room, room_of
from pairuni_train.progress import TrainingProgress, report_alarms
from pairuni_train.setup import (
    Job,
    RewardScheme,
    TrainerSetup,
    check_weights,
    load_reward_scheme,
    setup_trainer,
)
from pairuni_train.tracking import Tracking, start_tracked
from pairuni_train.watching import Course, Watch


def train(job: Job, console: Console) -> Path | None:
    """Run a job, or what is left of it; returns the last checkpoint's folder on the first rank.

    Raises:
        UserError: for whatever the user can mend, and for an alarm that stops the run.
    """
    accelerator = start_tracked(job.tracker, job.out)
    with ExitStack() as held:
        with ends_together(accelerator.process_index, accelerator.num_processes):
            scheme = load_reward_scheme(job.recipe, job.arm.weighting)
            file = find_pairs(job.pairs, job.arm.pairs, job.recipe)
            pairs, settings = StoredPairs(file), _settings(job, file)
            if accelerator.is_main_process:
                check_weights(job.arm.weighting, scheme.weighting, pairs)
                if accelerator.device.type == "cuda":
                    ranks, room = accelerator.num_processes, room_of(accelerator.device)
                    check_room(job.recipe, job.arm, pairs, ranks, room)
                held.enter_context(exclusive(job.out))
                check_run_dir(job.out, settings)
        former = agreed_checkpoint(accelerator, job.out)
        setup = setup_trainer(job, pairs, scheme, accelerator, former)
        first = former.step if former else 0
        if accelerator.is_main_process:
            open_run_dir(job.out, settings)
        tracking = Tracking(job.tracker, accelerator, settings, first)
        fixed_reward = _start_fixed_reward(job, setup, first, scheme)
        course = Course(job.recipe.steps, job.recipe.checkpoint_every)
        watch = held.enter_context(Watch(job.out, job.watched, course, accelerator, console))
        watch.tells = tracking.evaluation
        if accelerator.is_main_process:
            done = _run_first_rank(job, setup, first, console, fixed_reward, watch, tracking)
            watch.end()
            tracking.end()
            return job.out / f"checkpoint-{done}"
        for result in watch.steps(setup.trainer.steps, first, partial(_save, job, setup)):
            _measure(fixed_reward, setup, result)
        watch.end()
    return None


def _start_fixed_reward(
    job: Job, setup: TrainerSetup, first: int, scheme: RewardScheme
) -> FixedReward | None:
    """The reward on fixed prompts of a run that has them, with all rows up to here written."""
    if job.fixed is None:
        return None
    fixed_reward, parts = FixedReward(job.fixed, job.recipe, scheme.rewards), setup.trainer.parts
    rows = catch_up(job, fixed_reward, parts.engine, parts.policy, first)
    if parts.engine.rank == 0:
        write_rows(job.out, rows)
    return fixed_reward


def _measure(
    fixed_reward: FixedReward | None, setup: TrainerSetup, result: StepResult
) -> list[FixedRow]:
    """What fixed prompts earn after a step, where that is due. Every rank takes part."""
    done, parts = result.step + 1, setup.trainer.parts
    if fixed_reward is None or not fixed_reward.due(done):
        return []
    timer = PhaseTimer()
    rows = fixed_reward.measure(parts.engine, parts.policy, done, timer)
    result.seconds.update(timer.seconds)
    return rows


def _run_first_rank(
    job: Job,
    setup: TrainerSetup,
    first: int,
    console: Console,
    fixed_reward: FixedReward | None,
    watch: Watch,
    tracking: Tracking,
) -> int:
    """The first rank's run: the one that writes, shows and watches; returns the steps done."""
    trained = [task for task in TASKS if job.recipe.task(task).weight > 0.0]
    journal, monitor, done = TrainingJournal(job.out), HealthMonitor(trained), first
    for metrics in journal.cut_back(first):
        monitor.check(metrics)
    name = f"{job.arm.name} on {job.recipe.name}"
    with TrainingProgress(name, total=job.recipe.steps, first=first, console=console) as progress:
        watch.aside = progress.aside
        for result in watch.steps(setup.trainer.steps, first, partial(_save, job, setup)):
            done = result.step + 1
            fixed = _measure(fixed_reward, setup, result)
            with watch.writing(result):
                journal.write(result, fixed)
                tracking.step(result)
            progress.step(result)
            report_alarms(monitor.check(result.metrics), result.step, console)
    return done


def _save(job: Job, setup: TrainerSetup, done: int, spared: Collection[int]) -> None:
    """Write the checkpoint after so many steps; of the older ones those that are spared stay.

    Every rank takes part: of sharded weights each writes its own.
    """
    parts, kept = setup.trainer.parts, job.recipe.checkpoints
    declaration = {
        "capabilities": setup.origin.capabilities,
        "recipe": f"{job.arm.name} on {job.recipe.name}, seed {job.seed}",
        "parent": setup.origin.parent,
    }
    if parts.engine.sharded:
        save_sharded_checkpoint(
            parts.engine,
            job.out,
            done,
            policy=parts.policy,
            optimizer=named_state(parts.policy, parts.optimizer),
            declaration=declaration,
            saved_as=kept.saved_as,
            keep_last=kept.keep_last,
            spared=spared,
        )
        return
    with parts.engine.together():
        if parts.engine.rank == 0:
            save_checkpoint(
                job.out,
                done,
                policy=parts.policy,
                weights=full_weights(parts.policy, kept.saved_as),
                state=_resume_state(parts.policy, parts.optimizer, kept.saved_as),
                declaration=declaration,
                keep_last=kept.keep_last,
                spared=spared,
            )


def _resume_state(policy: Policy, optimizer: torch.optim.Optimizer, saved_as: str) -> ResumeState:
    """What a resumed run needs beside the weights of a checkpoint."""
    adapters = adapters_of(policy)
    rough = saved_as != "float32" and not adapters
    trained = trainable_parameters(policy) if rough else {}
    return ResumeState(
        optimizer_state(policy, optimizer),
        adapters,
        {name: one.detach().cpu() for name, one in trained.items()},
    )


def _settings(job: Job, pairs: Path) -> dict[str, Any]:
    """All that a step depends on."""
    with pairs.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "arm": msgspec.to_builtins(job.arm),
        "recipe": as_written(job.recipe),
        "pairs": digest,
        "seed": job.seed,
    }
