"""Code that lies in a checkpoint: run where it is allowed and nothing installed reads the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pairuni_eval.errors import UserError

T = TypeVar("T")
_ASKS = "trust_remote_code"  # what the libraries' refusals name


def with_code_if_needed(
    load: Callable[[bool], T], place: object, *, allowed: bool
) -> tuple[T, bool]:
    """What is loaded without the checkpoint's own code, or with it where there is no other way.

    Args:
        load: Loads it; its argument says whether code of the checkpoint may run.
        place: The checkpoint, for the error.
        allowed: Whether the user allows it.

    Returns:
        What was loaded, and whether code of the checkpoint may have run for it.

    Raises:
        UserError: if code is needed and not allowed.
    """
    try:
        return load(False), False
    except ValueError as failure:
        if _ASKS not in str(failure):
            raise
        if not allowed:
            raise needs_code(place) from failure
    return load(True), True


def needs_code(place: object) -> UserError:
    """The error for a checkpoint that only its own code can read."""
    return UserError(
        f"{place}: only code that lies in it can read it, and none of it was run.",
        hint="Read that code; if you trust it, add --allow-remote-code. A model in an environment "
        "of its own answers through an endpoint.",
    )
