"""A network of transformers from tensors by name: each in its place, or a refusal that names it.

transformers fills up what is missing with random numbers and goes on; here that is an error. What
has no place is a note, or an error where the caller says so. Parameters point into the mapped files
where the precision is the same: a network takes the memory of its weights once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairuni_eval.errors import UserError
from pairuni_eval.models.weight_file import WRAPPERS
from pairuni_eval.models.weights import Weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_NAMED = 3  # tensors that a message names


def load_network(
    network: Any,
    config: Any,
    tensors: Mapping[str, Tensor],
    parts: Sequence[Weights],
    *,
    folder: Path,
    dtype: torch.dtype,
    name: str,
    strict: bool,
) -> Any:
    """A network of a class of transformers, on the CPU.

    Args:
        network: The class.
        config: Its configuration.
        tensors: Every tensor by name.
        parts: The files that they are from, the checkpoint's own first.
        folder: Where the checkpoint lies, for messages.
        dtype: The precision to hold it in.
        name: What people call it, for messages: "Janus".
        strict: Whether a tensor that has no place is an error.

    Raises:
        UserError: naming tensors that are missing, not finite or, where strict, without a place,
            and for what transformers refuses.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        with _without_its_report():
            loaded, found = network.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                dtype=dtype,
                ignore_mismatched_sizes=True,  # told, and refused below
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as failure:
        raise UserError(f"{folder}: cannot be loaded as {name}: {failure}.") from failure
    check_names(found, parts, folder=folder, name=name, strict=strict)
    return loaded


def check_names(
    found: Mapping[str, Collection[str]],
    parts: Sequence[Weights],
    *,
    folder: Path,
    name: str,
    strict: bool,
) -> None:
    """Refuse or tell what a library found of names, and refuse numbers that are not finite.

    Args:
        found: Its `missing_keys` and `unexpected_keys`, and `mismatched_keys` where it has them:
            names with the shape that was found and the one that is expected.
        parts: The files, the checkpoint's own first.
        folder: Where the checkpoint lies, for messages.
        name: What people call the network.
        strict: Whether a tensor that has no place is an error.

    Raises:
        UserError: as `load_network`.
    """
    if found.get("mismatched_keys"):
        raise _other_shape(parts[-1], found["mismatched_keys"], name=name)
    if found["missing_keys"]:
        raise _missing(folder, parts[0], found["missing_keys"])
    unexpected = sorted(found["unexpected_keys"])
    if unexpected and strict:
        raise without_place(parts[-1], unexpected, name=name)
    for part in parts:
        part.refuse_broken(unread=unexpected)
        _tell_wrapper(part)
    if unexpected:
        has, is_ = ("has", "is") if len(unexpected) == 1 else ("have", "are")
        _note(f"{folder}: {_some(unexpected)} {has} no place in {name} and {is_} not read.")


def _other_shape(weights: Weights, found: Collection[Any], *, name: str) -> UserError:
    """The error for tensors whose shapes are not those that the configuration says."""
    tensor, there, expected = min(found)
    shapes = f"{tensor} is {_shape(there)} and not {_shape(expected)}"
    return UserError(
        f"{weights.files[0].parent}: {_told(len(found), 'tensor')} of another shape than {name} of "
        f"its config.json has, e.g. {shapes}.",
        hint="Take weights and config.json of one model.",
    )


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes)) or "a number"


def _told(count: int, noun: str, one: str = "is", many: str = "are") -> str:
    """E.g. "1 tensor is", "3 weights are"."""
    return f"1 {noun} {one}" if count == 1 else f"{count} {noun}s {many}"


def without_place(weights: Weights, names: Collection[str], *, name: str) -> UserError:
    """The error for tensors that a network has no place for.

    Args:
        weights: The files that hold them.
        names: Their names.
        name: What people call the network.
    """
    told = _told(len(names), "tensor", "has", "have")
    return UserError(
        f"{weights.files[0].parent}: {told} no place in {name}: {_some(names)}.",
        hint=f"This is another model, or one with parts that {name} does not have; save the "
        f"tensors of {name} alone.",
    )


@contextmanager
def _without_its_report() -> Iterator[None]:
    """Keep transformers from telling what it would fill up: here that is refused."""
    reporter = logging.getLogger("transformers.modeling_utils")

    def nothing(_: logging.LogRecord) -> bool:
        return False

    reporter.addFilter(nothing)  # its level decides over more than what is told
    try:
        yield
    finally:
        reporter.removeFilter(nothing)


def _tell_wrapper(part: Weights) -> None:
    if part.wrapper:
        _note(
            f"{part.files[0].parent}: every weight's name begins with '{part.wrapper}', which a "
            "wrapper put there; without it all of them fit."
        )


def _note(text: str) -> None:
    logging.getLogger(__name__).warning("Note: %s", text)


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:_NAMED]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(shown)}{more}"


def _missing(folder: Path, weights: Weights, missing: Collection[str]) -> UserError:
    """Weights that the checkpoint lacks, or has under names that a wrapper changed."""
    wrapped = {
        prefix: sum(name.startswith(prefix) for name in weights.names) for prefix in WRAPPERS
    }
    prefix = max(WRAPPERS, key=lambda one: wrapped[one])
    told = f"{folder}: {_told(len(missing), 'weight')} missing, e.g. {min(missing)}."
    if not wrapped[prefix]:
        return UserError(
            told,
            hint="Copy the whole checkpoint, every shard of it; or take the rest from the model "
            f"that was trained: --checkpoint BASE+{folder}",
        )
    return UserError(
        f"{told} {wrapped[prefix]} of the names in it begin with '{prefix}', which a wrapper "
        "(torch.compile, data-parallel training, peft) puts there.",
        hint="Save the model that is inside the wrapper; merge adapters first "
        "(peft: merge_and_unload).",
    )
