"""A training run from its first step, or from where it was stopped, to its last checkpoint.

The folder holds `settings.json`, the files of `pairuni_train.journal` and folders
`checkpoint-STEP/`, which `pairuni-eval run --checkpoint` takes as they are. The same command goes
on where an earlier one was stopped, and ends in the same state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.store.training import FixedRow
from pairuni_eval.store.write import exclusive
from pairuni_train.alarms import Alarm, Watch
from pairuni_train.checkpoints import Kept, check_claim, claim, last_checkpoint, save_checkpoint
from pairuni_train.clock import Clock
from pairuni_train.distributed.engine import start_process
from pairuni_train.grpo.gauge import Gauge, catch_up, write_rows
from pairuni_train.grpo.trainable_parameters import adapters_of, optimizer_state, whole_weights
from pairuni_train.grpo.trainer import Stepped
from pairuni_train.journal import Journal
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.pair_files import find_pairs
from pairuni_train.progress import Progress
from pairuni_train.setup import Assembled, Job, Judging, assemble, load_judging


def train(job: Job, console: Console) -> Path | None:
    """Run a job, or what is left of it; returns the last checkpoint's folder on the first rank.

    Raises:
        UserError: for whatever the user can mend, and for an alarm that stops the run.
    """
    accelerator = _accelerator(job)
    judging = load_judging(job.recipe, job.arm.weighting)
    file = find_pairs(job.pairs, job.arm.pairs, job.recipe)
    pairs, settings = read_pairs(file), _settings(job, file)
    with exclusive(job.out) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            check_claim(job.out, settings)
        accelerator.wait_for_everyone()
        former = last_checkpoint(job.out)
        assembled = assemble(job, pairs, judging, accelerator, former)
        first = former.step if former else 0
        if accelerator.is_main_process:
            claim(job.out, settings)
        if job.tracker is not None:
            accelerator.init_trackers("pairuni", config=_flat(settings))
        gauge = _begun(job, assembled, first, judging)
        if accelerator.is_main_process:
            _lead(job, assembled, first, console, gauge)
            return job.out / f"checkpoint-{job.recipe.steps}"
        for stepped in assembled.trainer.steps(first):
            _measure(gauge, assembled, stepped)
            _checkpoint(job, assembled, stepped)
    return None


def _begun(job: Job, assembled: Assembled, first: int, judging: Judging) -> Gauge | None:
    """The gauge of a run, if it has one, with all rows up to here written."""
    if job.fixed is None:
        return None
    gauge, parts = Gauge(job.fixed, job.recipe, judging.rewards), assembled.trainer.parts
    rows = catch_up(job, gauge, parts.engine, parts.policy, first)
    if parts.engine.rank == 0:
        write_rows(job.out, rows)
    return gauge


def _measure(gauge: Gauge | None, assembled: Assembled, stepped: Stepped) -> list[FixedRow]:
    """What fixed prompts earn after a step, where that is due. Every rank takes part."""
    done, parts = stepped.step + 1, assembled.trainer.parts
    if gauge is None or not gauge.due(done):
        return []
    clock = Clock()
    rows = gauge.measure(parts.engine, parts.policy, done, clock)
    stepped.seconds.update(clock.seconds)
    return rows


def _lead(
    job: Job, assembled: Assembled, first: int, console: Console, gauge: Gauge | None
) -> None:
    """The first rank's run: the one that writes, shows and watches."""
    journal, watch = Journal(job.out, job.arm.name), Watch()
    for metrics in journal.cut_back(first):
        watch.look(metrics)
    accelerator = assembled.trainer.parts.engine.accelerator
    name = f"{job.arm.name} on {job.recipe.name}"
    with Progress(name, total=job.recipe.steps, first=first, console=console) as progress:
        for stepped in assembled.trainer.steps(first):
            journal.write(stepped, _measure(gauge, assembled, stepped))
            accelerator.log(stepped.metrics, step=stepped.step)
            progress.step(stepped)
            _sound(watch.look(stepped.metrics), stepped.step, console)
            _checkpoint(job, assembled, stepped)
    accelerator.end_training()


def _accelerator(job: Job) -> Any:
    if job.tracker is None:
        return start_process()
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = sorted(str(name) for name in LOGGER_TYPE_TO_CLASS)
    if job.tracker not in known:
        raise unknown_name("tracker", job.tracker, known, list_command="pairuni-train run --help")
    if job.tracker not in {str(name) for name in get_available_trackers()}:
        raise UserError(
            f"The tracker '{job.tracker}' is not installed.",
            hint=f"pip install {job.tracker}; without --tracker, metrics.jsonl has it all.",
        )
    return start_process(log_with=job.tracker, project_dir=str(job.out))


def _checkpoint(job: Job, assembled: Assembled, stepped: Stepped) -> None:
    """Save where it is due. Every rank takes part: sharded weights are gathered."""
    done, recipe = stepped.step + 1, job.recipe
    if done % recipe.checkpoint_every and done != recipe.steps:
        return
    parts = assembled.trainer.parts
    weights = whole_weights(parts.policy, recipe)
    kept = Kept(optimizer_state(parts.policy, parts.optimizer), adapters_of(parts.policy, recipe))
    if parts.engine.rank == 0:
        declaration = {
            "capabilities": assembled.origin.capabilities,
            "recipe": f"{job.arm.name} on {recipe.name}, seed {job.seed}",
            "parent": assembled.origin.parent,
        }
        save_checkpoint(
            job.out,
            done,
            policy=parts.policy,
            weights=weights,
            kept=kept,
            declaration=declaration,
        )
    parts.engine.wait()


def _settings(job: Job, pairs: Path) -> dict[str, Any]:
    """All that a step depends on."""
    with pairs.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "arm": msgspec.to_builtins(job.arm),
        "recipe": msgspec.to_builtins(job.recipe),
        "pairs": digest,
        "seed": job.seed,
    }


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, in values that every tracker takes."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, int | float | str) else str(value)
    return found


def _sound(alarms: Iterable[Alarm], step: int, console: Console) -> None:
    for alarm in alarms:
        if alarm.stops:
            raise UserError(
                f"Stopped at step {step}: {alarm.text}.",
                hint="The checkpoints before this step are kept; metrics.jsonl has every step.",
            )
        console.print(f"[yellow]step {step}: {alarm.text}[/yellow]")
