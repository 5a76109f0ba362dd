"""A name of foreign code that means something else for the time of a block."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(names: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    """Set a name in the globals of a function, and put it back."""
    before = names[name]
    names[name] = value
    try:
        yield
    finally:
        names[name] = before


@contextmanager
def replaced_method(owner: type, name: str, method: Any) -> Iterator[None]:
    """Set a method of a class that has it as its own, and put it back."""
    before = vars(owner)[name]
    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, before)
