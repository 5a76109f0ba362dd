"""A fine-tuning from its first step, or from where it was stopped, to its last checkpoint.

The run folder is that of any training (`pairuni_train.run`): settings, a line a step, checkpoints
that `pairuni-eval run --checkpoint` takes. Where an average of the weights is kept, it is what a
checkpoint holds, and the weights that train lie beside the optimizer's state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from rich.console import Console
from torch import Tensor

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import (
    Learner,
    LearnerModel,
    LoadOptions,
    Task,
    load_model,
    read_declaration,
)
from pairuni_eval.toolkit.store import exclusive
from pairuni_train.checkpoints import (
    LastCheckpoint,
    ResumeState,
    agreed_checkpoint,
    check_run_dir,
    load_resume_state,
    open_run_dir,
    save_checkpoint,
)
from pairuni_train.config import Arm
from pairuni_train.distributed.engine import Engine, ends_together
from pairuni_train.grpo.optimizer import make_optimizer
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.sampler import PairSampler
from pairuni_train.grpo.trainable_parameters import (
    optimizer_state,
    restore_optimizer,
    select_trainable,
    trainable_parameters,
)
from pairuni_train.health import HealthMonitor
from pairuni_train.journal import TrainingJournal
from pairuni_train.pair_data.record import Pair
from pairuni_train.pair_data.stored_pairs import StoredPairs
from pairuni_train.pair_files import find_pairs
from pairuni_train.progress import TrainingProgress, report_alarms
from pairuni_train.sft.average import WeightAverage
from pairuni_train.sft.config import SftRecipe
from pairuni_train.sft.trainer import SftParts, SftTrainer
from pairuni_train.tracking import Tracking, start_tracked
from pairuni_train.watching import Course, Watch, Watched


class SftJob(NamedTuple):
    """What a user asks of `pairuni-train sft`.

    Attributes:
        arm: Which pair set, and what the run is called.
        pairs: The pair set, or the folder that `pairs build` wrote; None builds the recipe's.
        watched: What is measured of its checkpoints meanwhile; None measures nothing.
        tracker: A tracker of accelerate's that hears of it too, e.g. "tensorboard".
    """

    arm: Arm
    recipe: SftRecipe
    pairs: Path | None
    seed: int
    out: Path
    watched: Watched | None = None
    tracker: str | None = None


class SftSetup(NamedTuple):
    """A trainer that is ready for its next step, and what it began from.

    Attributes:
        parent: Hash of the weights.
        capabilities: What the model was trained for before.
    """

    trainer: SftTrainer
    parent: str
    capabilities: list[str]


def fine_tune(job: SftJob, console: Console) -> Path | None:
    """Run a job, or what is left of it; returns the last checkpoint's folder on the first rank.

    Raises:
        UserError: for whatever the user can mend, and for an alarm that stops the run.
    """
    accelerator = start_tracked(job.tracker, job.out)
    file = find_pairs(job.pairs, job.arm.pairs, job.recipe)
    pairs, settings = StoredPairs(file), _settings(job, file)
    with ExitStack() as held:
        with ends_together(accelerator.process_index, accelerator.num_processes):
            if accelerator.is_main_process:
                for _ in pairs:  # one that is not sound is found before anything is taught
                    pass
                held.enter_context(exclusive(job.out))
                check_run_dir(job.out, settings)
        former = agreed_checkpoint(accelerator, job.out)
        setup = set_up(job, pairs, accelerator, former)
        first = former.step if former else 0
        if accelerator.is_main_process:
            open_run_dir(job.out, settings)
        tracking = Tracking(job.tracker, accelerator, settings, first)
        course = Course(job.recipe.steps, job.recipe.checkpoint_every)
        watch = held.enter_context(Watch(job.out, job.watched, course, accelerator, console))
        watch.tells = tracking.evaluation
        if accelerator.is_main_process:
            done = _run_first_rank(job, setup, first, console, watch, tracking)
            watch.end()
            tracking.end()
            return job.out / f"checkpoint-{done}"
        for _ in watch.steps(setup.trainer.steps, first, partial(_save, job, setup)):
            pass
        watch.end()
    return None


def set_up(
    job: SftJob, pairs: Sequence[Pair], accelerator: Any, former: LastCheckpoint | None
) -> SftSetup:
    """Load what a run needs, from its beginning or from a former checkpoint.

    Raises:
        UserError: for a checkpoint or a pair set that cannot be used.
    """
    recipe = job.recipe
    samplers: dict[Task, PairSampler] = {
        task: PairSampler(
            pairs,
            pairs_per_step=recipe.pairs_per_step * times,
            seed=job.seed,
            repaired=job.arm.repaired,
        )
        for task, times in zip(TASKS, recipe.ratio, strict=True)
    }
    checkpoint = recipe.checkpoint if former is None else str(former.folder)
    model = load_model(
        checkpoint, None, LoadOptions(device=str(accelerator.device), dtype="float32")
    )
    if not isinstance(model, LearnerModel):
        raise UserError(
            f"{checkpoint} cannot be taught: its adapter '{model.identity.adapter}' has no losses.",
            hint="Teach a Janus or a BAGEL: pairuni-train sft --recipe tiny",
        )
    learner = model.learner(recipe.lessons)
    select_trainable(learner, recipe.trainable or ("",))
    if recipe.gradient_checkpointing:
        learner.checkpoint_activations()
        learner.train()
    parameters = trainable_parameters(learner)
    state = None if former is None else load_resume_state(former.folder)
    average = None
    if recipe.ema:  # which is what the checkpoint holds, if nothing else is kept
        former_average = state.average if state is not None and state.average else None
        average = WeightAverage(parameters, recipe.ema, former_average)
    if state is not None:
        learner.load_state_dict(state.trained, strict=False)
    optimizer = make_optimizer(parameters, recipe.optimizer, eps=recipe.eps)
    if state is not None:
        restore_optimizer(learner, optimizer, state.optimizer)
    engine = Engine(accelerator, learner, bfloat16=recipe.precision == "bf16")
    parts = SftParts(engine, learner, optimizer, samplers, average, job.arm.name, job.seed)
    parent = model.identity.weights
    if former is not None:
        parent = str(read_declaration(former.folder).parent)
    return SftSetup(SftTrainer(recipe, parts), parent, sorted(model.capabilities))


def _run_first_rank(
    job: SftJob,
    setup: SftSetup,
    first: int,
    console: Console,
    watch: Watch,
    tracking: Tracking,
) -> int:
    """The first rank's run: the one that writes, shows and watches; returns the steps done."""
    journal, monitor, done = TrainingJournal(job.out), HealthMonitor(()), first
    for metrics in journal.cut_back(first):
        monitor.check(metrics)
    name = f"{job.arm.name} on {job.recipe.name}"
    with TrainingProgress(name, total=job.recipe.steps, first=first, console=console) as progress:
        watch.aside = progress.aside
        for result in watch.steps(setup.trainer.steps, first, partial(_save, job, setup)):
            done = result.step + 1
            with watch.writing(result):
                journal.write(result)
                tracking.step(result)
            progress.step(result)
            report_alarms(monitor.check(result.metrics), result.step, console)
    return done


def _save(job: SftJob, setup: SftSetup, done: int, spared: Collection[int]) -> None:  # noqa: ARG001
    """Write the checkpoint after so many steps; a fine-tuning keeps all of them."""
    recipe = job.recipe
    parts = setup.trainer.parts
    if parts.engine.rank == 0:
        save_checkpoint(
            job.out,
            done,
            policy=parts.learner,
            weights=_saved(parts.learner, parts.average, recipe),
            state=_state(parts, recipe),
            declaration={
                "capabilities": setup.capabilities,
                "recipe": f"{job.arm.name} by sft on {recipe.name}, seed {job.seed}",
                "parent": setup.parent,
            },
        )
    parts.engine.wait()


def _saved(learner: Learner, average: WeightAverage | None, recipe: SftRecipe) -> dict[str, Tensor]:
    """The weights of a checkpoint: the average where there is one, in the recipe's precision."""
    precision = getattr(torch, recipe.saved_as)
    whole = {**learner.state_dict(), **(average.weights if average else {})}
    return {
        name: one.to(precision) if one.is_floating_point() else one for name, one in whole.items()
    }


def _state(parts: SftParts, recipe: SftRecipe) -> ResumeState:
    """What a resumed run needs: whatever the checkpoint's weights do not hold to the bit."""
    learner, average = parts.learner, parts.average
    exact = recipe.saved_as == "float32"
    trains: Mapping[str, Tensor] = {}
    if not exact:
        trains = learner.state_dict()
    elif average:
        trains = trainable_parameters(learner)
    return ResumeState(
        optimizer_state(learner, parts.optimizer),
        trained={name: one.detach().cpu() for name, one in trains.items()},
        average=average.weights if average and not exact else {},
    )


def _settings(job: SftJob, pairs: Path) -> dict[str, Any]:
    """All that a step depends on."""
    with pairs.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "arm": msgspec.to_builtins(job.arm),
        "method": "sft",
        "recipe": msgspec.to_builtins(job.recipe),
        "pairs": digest,
        "seed": job.seed,
    }
