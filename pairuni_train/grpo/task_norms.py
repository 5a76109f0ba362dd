"""|u| and |g|: the norm of each task's gradient alone.

Both tasks add to one gradient, and the part of the second cannot be told from the sum once it is
made: that takes a second gradient in memory. A run that probes holds one anyway every so many
steps, so it holds one in every step, which costs no memory at its peak. A run without a probe holds
none and has no norms; nor has, but in the steps that are probed, one of several ranks with whole
weights each, which would have to send its gradients twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pairuni_eval.toolkit.models import Task
from pairuni_train.distributed.engine import Engine
from pairuni_train.distributed.sharded import local
from pairuni_train.grpo.hooks import TaskGradients
from pairuni_train.grpo.rollouts import TASKS


def tells_every_step(engine: Engine, *, probes: bool) -> bool:
    """Whether the gradients of both tasks are held apart in every step.

    Args:
        engine: Knows the ranks.
        probes: Whether hooks hold them apart in some steps anyway.
    """
    return probes and (engine.ranks == 1 or engine.sharded)


def held_norms(engine: Engine, held: TaskGradients) -> dict[Task, float]:
    """The norm of each task's gradient over all parameters that train, summed over ranks already.

    The halves of a task are added one parameter at a time.
    """
    mine = []
    for task in TASKS:
        parts = [part for (of, _), part in held.parts.items() if of == task]
        names = dict.fromkeys(name for part in parts for name in part)
        mine.append(_total([_square(_sum_of(parts, name)) for name in names]))
    total = engine.total_of_shards(torch.tensor(mine, dtype=torch.float64)).sqrt().tolist()
    return dict(zip(TASKS, total, strict=True))


def _sum_of(parts: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    """This rank's shard of a parameter's gradient, over the halves that have one."""
    first, *others = [local(part[name]) for part in parts if name in part]
    for other in others:
        first = first + other
    return first


def _square(gradient: Tensor) -> Tensor:
    """The squared norm, where the gradient lies: the host waits for all of them once."""
    norm: Tensor = torch.linalg.vector_norm(gradient, dtype=torch.float32)
    return norm.square()


def _total(squares: Sequence[Tensor]) -> float:
    return float(torch.stack(list(squares)).cpu().double().sum()) if squares else 0.0
