"""The steps of a pretraining, whatever is taught: shown as they come, a checkpoint now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor, nn

from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.optimizer_state import load_state, save_state
from pairuni_train.tiny_pretraining.optimizers import Optimizers
from pairuni_train.tiny_pretraining.progress import LessonProgress


def take_steps(
    train: Callable[[int, int], Iterator[tuple[int, Tensor]]],
    save: Callable[[Path, int], None],
    progress: LessonProgress,
    *,
    cfg: PretrainConfig,
    out_dir: Path,
    network: nn.Module,
    optimizers: Optimizers,
    start: int,
    resume: Path | None,
) -> None:
    """Take the steps that are left, and keep every `save_every`th in `out_dir/step-N`.

    Args:
        train: Takes the last step that is done and the one at which the optimizers began; gives
            the number of each step, from 1, and its losses by lesson.
        save: Writes what was taught by so many steps into a folder.
        progress: Shows the steps.
        cfg: How many there are.
        out_dir: Where checkpoints lie.
        network: What is taught.
        optimizers: Of its parameters.
        start: The last step that is done.
        resume: The checkpoint that this is; where it holds the optimizers' state, they go on with
            it, else they start afresh.
    """
    goes_on = resume is not None and load_state(optimizers, network, resume)
    progress.begin("model", cfg.steps, start)
    for step, losses in train(start, 0 if goes_on else start):
        progress.step(step, losses)
        if step % cfg.save_every == 0 and step < cfg.steps:
            folder = out_dir / f"step-{step}"
            save(folder, step)
            save_state(optimizers, network, folder)
