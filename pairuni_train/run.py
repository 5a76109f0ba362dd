"""From a recipe, a backbone and a pair set to a finished run folder.

The folder holds `settings.json`, `metrics.jsonl` (a line a step), `gradients.jsonl` (a line for
every block that the probe looked at) and folders `checkpoint-STEP/`, which
`pairuni-eval run --checkpoint` takes as they are. The same command goes on where an earlier one was
stopped, and ends in the same state.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pairuni_eval.adapters import load_model
from pairuni_eval.errors import UserError, nearest
from pairuni_eval.models.base import LoadOptions
from pairuni_train.advantages import WEIGHTINGS, Weighting
from pairuni_train.alarms import Alarm
from pairuni_train.checkpoint import (
    METRICS,
    claim,
    cut_back,
    last_checkpoint,
    load_optimizer,
    save_checkpoint,
)
from pairuni_train.engine import Engine
from pairuni_train.gradient_rows import GRADIENTS, rows_of
from pairuni_train.loop import Look, Metrics, Parts, Trainer
from pairuni_train.order import PairOrder
from pairuni_train.pairs.dataset import read_pairs
from pairuni_train.recipe import Backbone, Recipe
from pairuni_train.rewards import load_rewards
from pairuni_train.rollouts import TASKS


class Job(NamedTuple):
    """What a user asks of `pairuni-train run`."""

    recipe: Recipe
    backbone: Backbone
    pairs: Path
    seed: int
    out: Path


def train(job: Job, console: Console) -> Path:
    """Run a job, or what is left of it; returns the last checkpoint's folder.

    Raises:
        UserError: for whatever the user can mend, and for an alarm that stops the run.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision=job.backbone.precision)
    torch.manual_seed(job.seed)
    former = last_checkpoint(job.out)
    checkpoint = str(former.folder) if former else job.backbone.checkpoint
    model = _trainable_model(checkpoint, accelerator.device)
    parent = _parent_of(model.identity.weights, former is not None, model)
    if accelerator.is_main_process:
        claim(job.out, _settings(job, parent))
    accelerator.wait_for_everyone()
    policy = model.policy
    reference = _reference(job, policy, accelerator.device)
    freeze_others(policy, job.backbone.trainable)
    engine = Engine(accelerator, policy)
    optimizer = torch.optim.AdamW(
        engine.trained,
        lr=job.backbone.lr,
        betas=job.backbone.betas,
        weight_decay=job.backbone.weight_decay,
    )
    if former is not None:
        load_optimizer(former.folder, optimizer)
    parts = Parts(
        engine=engine,
        policy=policy,
        reference=reference,
        optimizer=optimizer,
        order=PairOrder(
            read_pairs(job.pairs), pairs_per_step=job.backbone.pairs_per_step, seed=job.seed
        ),
        rewards={task: load_rewards(job.backbone.task(task).rewards) for task in TASKS},
        weighting=find_weighting(job.recipe.weighting),
    )
    trainer = Trainer(job.recipe, job.backbone, parts, job.seed)
    declaration = {
        "capabilities": sorted(model.capabilities),
        "recipe": f"{job.recipe.name} on {job.backbone.name}, seed {job.seed}",
        "parent": parent,
    }
    return _run(job, trainer, former.step if former else 0, declaration, console)


def _run(
    job: Job, trainer: Trainer, first: int, declaration: dict[str, Any], console: Console
) -> Path:
    engine, backbone = trainer.parts.engine, job.backbone
    metrics, gradients = job.out / METRICS, job.out / GRADIENTS
    cut_back(metrics, first)
    cut_back(gradients, first)
    with _progress(console) as progress:
        bar = progress.add_task(job.recipe.name, total=backbone.steps, completed=first)

        def done(step: int, found: Metrics, alarms: Sequence[Alarm]) -> None:
            progress.update(bar, advance=1, description=f"{job.recipe.name}  {_words(found)}")
            for alarm in alarms:
                _sound(alarm, step, console)
            if (step + 1) % backbone.checkpoint_every == 0 or step + 1 == backbone.steps:
                if engine.rank == 0:
                    save_checkpoint(
                        job.out,
                        step + 1,
                        policy=trainer.parts.policy,
                        optimizer=trainer.parts.optimizer,
                        declaration=declaration,
                    )
                engine.wait()

        def looked(look: Look) -> None:
            if engine.rank == 0:
                with gradients.open("ab") as lines:
                    for row in rows_of(look, scenario=job.recipe.name):
                        lines.write(msgspec.json.encode(row) + b"\n")

        trainer.run(first, metrics=metrics if engine.rank == 0 else None, done=done, looked=looked)
    return job.out / f"checkpoint-{backbone.steps}"


def freeze_others(policy: torch.nn.Module, prefixes: Sequence[str]) -> None:
    """Let only parameters with one of these prefixes train.

    Raises:
        UserError: if a prefix names none.
    """
    names = [name for name, _ in policy.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            guess = nearest(prefix, {name.rpartition(".")[0] + "." for name in names})
            raise UserError(
                f"No parameter's name begins with '{prefix}'."
                + (f" Did you mean '{guess}'?" if guess else "")
            )
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(prefixes)))


def find_weighting(name: str) -> Weighting:
    """A weighting by name, or a plugin's as "package.module:object"."""
    if name in WEIGHTINGS:
        return WEIGHTINGS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        guess = nearest(name, WEIGHTINGS)
        raise UserError(
            f"Unknown weighting '{name}'." + (f" Did you mean '{guess}'?" if guess else ""),
            hint=f"One of {', '.join(WEIGHTINGS)}, or package.module:object.",
        )
    try:
        found: Weighting = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as failure:
        raise UserError(f"The weighting '{name}' cannot be imported: {failure}.") from failure
    return found


def _trainable_model(checkpoint: str, device: torch.device) -> Any:
    """A loaded model with a policy, its master weights in float32."""
    model = load_model(checkpoint, None, LoadOptions(device=str(device), dtype="float32"))
    if not hasattr(model, "policy"):
        raise UserError(
            f"{checkpoint} has no policy that could be trained: its adapter "
            f"'{model.identity.adapter}' only evaluates.",
            hint="Train a Janus checkpoint: pairuni-train run --backbone tiny",
        )
    return model


def _reference(job: Job, policy: Any, device: torch.device) -> torch.nn.Module | None:
    """A frozen copy of the weights that training began from, if the KL penalty needs one."""
    if job.backbone.beta == 0.0:
        return None
    if last_checkpoint(job.out) is None:
        copied: torch.nn.Module = deepcopy(policy)
    else:
        copied = _trainable_model(job.backbone.checkpoint, device).policy
    return copied.requires_grad_(False).eval()


def _parent_of(weights: str, resumed: bool, model: Any) -> str:
    """Hash of the weights that training began from."""
    return str(model.identity.parent) if resumed else weights


def _settings(job: Job, parent: str) -> dict[str, Any]:
    import hashlib

    with job.pairs.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "recipe": msgspec.to_builtins(job.recipe),
        "backbone": msgspec.to_builtins(job.backbone),
        "pairs": digest,
        "seed": job.seed,
        "parent": parent,
    }


def _sound(alarm: Alarm, step: int, console: Console) -> None:
    if alarm.stops:
        raise UserError(
            f"Stopped at step {step}: {alarm.text}.",
            hint="The checkpoints before this step are kept; metrics.jsonl has every step.",
        )
    console.print(f"[yellow]step {step}: {alarm.text}[/yellow]")


def _words(found: Metrics) -> str:
    """What a person watches, in a few words."""
    parts = []
    for task in TASKS:
        if f"reward/{task}" in found:
            live = found[f"live_groups/{task}"]
            parts.append(f"{task} {found[f'reward/{task}']:.2f} ({live:.0%} live)")
    return "  ".join(parts)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
