"""A plan of a training before it starts: memory by part, seconds of a step, disk, calls.

Sizes are told before a weight is read, and a run that cannot fit is refused with the setting that
makes it fit. Then two steps are run and forgotten: the seconds of the second, and what both really
took, stand beside the figures. In the first the optimizer's averages are not there until its end.
The run folder is not touched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import Outline, expected_outline, size_of
from pairuni_train.config import Arm, Recipe
from pairuni_train.distributed.engine import start_process
from pairuni_train.grpo.rewards import WeightedSum
from pairuni_train.memory_plan import Lengths, MemoryPlan, plan_memory, ways_to_fit
from pairuni_train.pair_data.record import Pair
from pairuni_train.pair_data.stored_pairs import StoredPairs
from pairuni_train.pair_files import find_pairs
from pairuni_train.setup import Job, check_weights, load_reward_scheme, setup_trainer

_LOOKED_AT = 256  # pairs whose texts say how long texts are
_LETTERS = 3  # of a text, to a token; more of them in plain English


class PlannedMemory(NamedTuple):
    """Bytes on this rank's device, beyond those of the process before anything was loaded.

    Attributes:
        told: The figure, models that reward included; None where the sizes are not known.
        took: What the warm-up held at its peak.
    """

    told: int | None
    took: int


def plan(job: Job, console: Console) -> PlannedMemory:
    """Print what a run will take on each of the ranks that are here, and run two steps.

    Raises:
        UserError: for a run that cannot fit, and as `train` for whatever the user can mend.
    """
    accelerator = start_process()
    scheme = load_reward_scheme(job.recipe, job.arm.weighting)
    rewards = sum(map(_bytes_of_rewards, scheme.rewards.values()))
    pairs = StoredPairs(find_pairs(job.pairs, job.arm.pairs, job.recipe))
    first, ranks = accelerator.is_main_process, accelerator.num_processes
    found = figures(job.recipe, job.arm, pairs, ranks)
    if first:
        for line in _lines(job, found, rewards, len(pairs), ranks):
            _say(line, console)
    check_room(job.recipe, job.arm, pairs, ranks, room_of(accelerator.device), rewards)
    check_weights(job.arm.weighting, scheme.weighting, pairs)
    before = memory_now(accelerator.device)  # with all that is imported
    trainer = setup_trainer(job, pairs, scheme, accelerator, None).trainer
    trainer.step(0)
    began = time.perf_counter()
    result = trainer.step(1)
    took = time.perf_counter() - began
    memory = PlannedMemory(
        None if found is None else found[1].peak + rewards,
        memory_peak(accelerator.device) - before,
    )
    if first:
        phases = ", ".join(f"{name} {one:.2f} s" for name, one in result.seconds.items())
        _say(
            f"A step took {took:.2f} s ({phases}); {job.recipe.steps} of them {_hours(took, job)}.",
            console,
        )
        of = "" if memory.told is None else f", {memory.took / memory.told:.0%} of the figure"
        _say(
            f"The warm-up took {size_of(memory.took)} at its peak{of}, beyond the "
            f"{size_of(before)} of the process before it.",
            console,
        )
    return memory


def _say(what: Any, console: Console) -> None:
    console.print(what, highlight=False, markup=False, soft_wrap=True)


def figures(
    recipe: Recipe, arm: Arm, pairs: Sequence[Pair], ranks: int
) -> tuple[Outline, MemoryPlan] | None:
    """The sizes of a model and what its training takes; None where they are not known."""
    outline = expected_outline(recipe.checkpoint)
    if outline is None:
        return None
    apart = arm.surgery != "none"
    return outline, plan_memory(outline, recipe, ranks, lengths_of(pairs, recipe), apart=apart)


def check_room(
    recipe: Recipe,
    arm: Arm,
    pairs: Sequence[Pair],
    ranks: int,
    room: int | None,
    rewards: int = 0,
) -> None:
    """See that a run fits into its device.

    Args:
        recipe: How it is trained.
        arm: Whether gradients are held apart.
        pairs: Whose texts are asked.
        ranks: Over how many devices.
        room: Bytes of each; None where nobody can tell.
        rewards: Bytes of the models that reward.

    Raises:
        UserError: with both figures and the settings that make it fit.
    """
    found = figures(recipe, arm, pairs, ranks)
    if found is None or room is None:
        return
    outline, memory = found
    if memory.peak + rewards <= room:
        return
    lengths, apart = lengths_of(pairs, recipe), arm.surgery != "none"
    hint = "Take more devices with --set sharding=fsdp2, or a device with more memory."
    for words, smaller in ways_to_fit(recipe, ranks):
        needed = plan_memory(outline, smaller, ranks, lengths, apart=apart).peak + rewards
        if needed <= room:
            hint = f"{size_of(needed)} with: {words}"
            break
    raise UserError(
        f"{recipe.name}: a step takes {size_of(memory.peak + rewards)} on each of {ranks} devices "
        f"of {size_of(room)}.",
        hint=hint,
    )


def room_of(device: torch.device) -> int | None:
    """Bytes of memory of a device; of the CPU all that the machine has."""
    import os

    from pairuni_eval.toolkit.networks import room_on

    if device.type == "cpu":
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return None
    return room_on(device.type)


def lengths_of(pairs: Sequence[Pair], recipe: Recipe) -> Lengths:
    """About how many tokens the longest of the first texts have."""
    questions, prompts = [0], [0]
    for place in range(min(len(pairs), _LOOKED_AT)):
        pair = pairs[place]
        if pair.understanding is not None:
            questions.append(len(pair.understanding.question) + len(recipe.und.instruction))
        if pair.generation is not None:
            prompts.append(len(pair.generation.prompt))
    return Lengths(-(-max(questions) // _LETTERS), -(-max(prompts) // _LETTERS))


def _lines(
    job: Job, found: tuple[Outline, MemoryPlan] | None, rewards: int, pairs: int, ranks: int
) -> Iterator[Any]:
    recipe = job.recipe
    if found is None:
        yield (
            f"memory: the sizes of {recipe.checkpoint} are not known before it is loaded; the "
            "warm-up tells."
        )
    else:
        outline, memory = found
        yield _table(memory, rewards, ranks)
        yield from _disk(job, outline)
    yield (
        f"calls: none. The pair set has {pairs} rows that are written already, and rewards of "
        "training ask no judge."
    )


def _table(memory: MemoryPlan, rewards: int, ranks: int) -> Table:
    table = Table("memory on each device" if ranks > 1 else "memory", "", title=None)
    for name, size in memory.states.items():
        table.add_row(name, size_of(size))
    table.add_row("rollouts, while sampling", size_of(memory.rollouts))
    table.add_row("activations, while updating", size_of(memory.update))
    table.add_row("probe, in the steps it looks", size_of(memory.probe))
    table.add_row("models that reward", size_of(rewards))
    table.add_section()
    table.add_row("at most together", size_of(memory.peak + rewards))
    return table


def _disk(job: Job, outline: Outline) -> Iterator[str]:
    recipe = job.recipe
    numbers = sum(one.numbers for one in outline.weights.values())
    size = numbers * (2 if recipe.checkpoints.saved_as == "bfloat16" else 4)
    made = math.ceil(recipe.steps / recipe.checkpoint_every)
    kept = min(made, recipe.checkpoints.keep_last or made)
    trainer = plan_memory(outline, recipe, 1, Lengths(0, 0)).states["AdamW"]
    more = trainer if recipe.checkpoints.saved_as == "float32" else trainer * 3 // 2
    yield (
        f"disk: {size_of(kept * size + more)}: {kept} checkpoints of {size_of(size)} and "
        f"{size_of(more)} to go on from; while one is written, {size_of(size + more)} more."
    )


def _bytes_of_rewards(rewards: WeightedSum) -> int:
    return sum(reward.memory() for _, _, reward in rewards.parts)


def _hours(step: float, job: Job) -> str:
    seconds = step * job.recipe.steps
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def memory_now(device: torch.device) -> int:
    """Bytes that this process holds on a device."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    text = Path("/proc/self/statm")
    if not text.is_file():
        return 0
    import os

    return int(text.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_peak(device: torch.device) -> int:
    """Bytes that this process held there at most."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
