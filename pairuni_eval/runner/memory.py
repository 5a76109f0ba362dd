"""Whether a model's weights fit into its device, told before they are read."""

from __future__ import annotations

from pairuni_eval.adapters import expected_memory
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Memory

_WIDE, _HALF = "float32", "bfloat16"  # a precision, and one of half its bytes


def size_of(count: int) -> str:
    """Bytes for people: "4.2 GB", "6.4 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 10**8 else f"{count / 1e6:.1f} MB"


def check_fits(checkpoint: str, adapter: str | None, options: LoadOptions) -> None:
    """See that a checkpoint's weights fit into the device that they are loaded to.

    Raises:
        UserError: as `check_room`; and as loading does, for a checkpoint that cannot be read.
    """
    from pairuni_eval.devices import room_on

    if room_on("cuda") is None:
        return
    found = expected_memory(checkpoint, adapter, options)
    if found is not None:
        check_room(found, room_on(found.device))


def check_room(memory: Memory, room: int | None) -> None:
    """See that weights fit.

    Args:
        memory: What they take.
        room: Bytes of the device; None where nobody can tell, or they are mapped.

    Raises:
        UserError: with both figures, for weights that do not fit.
    """
    if room is None or memory.weights <= room:
        return
    half = memory.weights // 2
    hint = "Take a device with more memory, or --device cpu."
    if memory.dtype == _WIDE and half <= room:
        hint = f"In {_HALF} they take {size_of(half)}: --dtype {_HALF}"
    raise UserError(
        f"The weights take {size_of(memory.weights)} in {memory.dtype}, and {memory.device} has "
        f"{size_of(room)}.",
        hint=hint,
    )
