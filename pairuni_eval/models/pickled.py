"""A reader of pickle streams that runs nothing: which names a pickled file would call.

torch refuses whatever is not a tensor or a plain container, but says so in words of several kinds,
and a file that is refused for what it holds must not be taken for a damaged one. A pickle is a list
of instructions; those that name a function or a class are looked for here.

Read are the parts of a zip archive that `torch.save` pickles, and the pickles that an older file,
which is not an archive, begins with.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pairuni_eval.errors import UserError

# Modules whose names stand in every file of weights.
_EXPECTED = ("torch", "collections")
_NO_PICKLE = (
    ValueError,
    OSError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)
_STORES = ("PUT", "BINPUT", "LONG_BINPUT")
_RECALLS = ("GET", "BINGET", "LONG_BINGET")


def unsafe_name(path: Path, failure: Exception | None = None) -> str | None:
    """The first thing that unpickling a file would import beyond torch's own, e.g. "posix.system".

    None if there is none, or the file is not a pickle.

    Args:
        path: The file.
        failure: What torch said when it refused the file: it also refuses some names of its own.
    """
    said = re.search(r"GLOBAL ([\w.]+)", str(failure)) if failure else None
    return _named_in(path) or (said.group(1) if said else None)


def _named_in(path: Path) -> str | None:
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            stream.seek(0)
            return _first_of(_pickles(stream))
        with zipfile.ZipFile(stream) as archive:
            for member in archive.namelist():
                if member.endswith(".pkl"):
                    with archive.open(member) as part:
                        found = _first_of(_names(part))
                    if found:
                        return found
    return None


def refused(path: Path, name: str) -> UserError:
    """The error for a file that would import something else than weights need."""
    return UserError(
        f"{path} holds more than weights ({name}); unpickling it could run code, so it is refused "
        "as unsafe. Nothing of it was run.",
        hint="Give the file with the weights alone, as published, best as safetensors.",
    )


def _first_of(names: Iterator[str]) -> str | None:
    """The first name that is not expected; a stream that is not a pickle ends the search."""
    try:
        return next((name for name in names if name.partition(".")[0] not in _EXPECTED), None)
    except _NO_PICKLE:
        return None


def _pickles(stream: BinaryIO) -> Iterator[str]:
    """The names in the pickles that a stream begins with, one behind the other."""
    while True:
        yield from _names(stream)


def _names(stream: object) -> Iterator[str]:
    """Every function and class that one pickle names, as "module.name"."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    last = ""
    for instruction, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        name = instruction.name
        if name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif name == "MEMOIZE":
            memo[len(memo)] = last
        elif name in _STORES:
            memo[int(str(argument))] = last
        elif name in _RECALLS:
            texts.append(memo.get(int(str(argument)), ""))
        last = argument if isinstance(argument, str) else ""
        if last and name not in ("GLOBAL", "INST"):
            texts.append(last)
