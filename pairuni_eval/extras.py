"""Packages that only some commands need: which extra brings them, and what to say without them.

What an extra brings stands in pyproject.toml alone; it is read from the installed distribution. A
plugin class that needs one names it as `extra`, a command asks `needs` before its work begins.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

from pairuni_eval.errors import UserError

_PACKAGE = "pairuni"
_REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+).*;.*\bextra == ["']([A-Za-z0-9._-]+)["']""")
_MODULES = {"faiss-cpu": "faiss", "scikit-learn": "sklearn"}  # where it is not the name itself
_CONSTRAINTS = "constraints.txt"  # beside pyproject.toml in a clone
_OWN_CONSTRAINTS = {"lmms": "constraints-lmms.txt"}


def needs(what: str, *extras: str) -> None:
    """Check that everything some extras bring is installed; imports none of it.

    Args:
        what: What needs it, as the sentence begins, e.g. "pairuni-train run".
        extras: Names of extras.

    Raises:
        UserError: naming the packages that are missing and the line that installs them.
    """
    lacking = {extra: missing for extra in dict.fromkeys(extras) if (missing := _missing(extra))}
    if lacking:
        names = list(dict.fromkeys(name for missing in lacking.values() for name in missing))
        verb = "is" if len(names) == 1 else "are"
        raise UserError(
            f"{what} needs {_listed(names)}, which {verb} not installed.",
            hint=pip_line(*lacking),
        )


def extra_of(plugin: Any) -> tuple[str, ...]:
    """The extra that a plugin class names as its own, none if it names none."""
    extra = getattr(plugin, "extra", None)
    return (extra,) if isinstance(extra, str) else ()


def pip_line(*extras: str) -> str:
    """The command that installs some extras: from the clone that one stands in, else by name."""
    wanted = ",".join(extras)
    if not (Path(_CONSTRAINTS).is_file() and Path("pairuni_eval").is_dir()):
        return f"python -m pip install '{_PACKAGE}[{wanted}]'"
    files = [_CONSTRAINTS, *(_OWN_CONSTRAINTS[e] for e in extras if e in _OWN_CONSTRAINTS)]
    return f"python -m pip install {' '.join(f'-c {file}' for file in files)} '.[{wanted}]'"


@cache
def packages() -> dict[str, tuple[str, ...]]:
    """The distributions that each extra brings, as the installed package declares them."""
    from importlib.metadata import requires  # late: a tenth of the time of --help

    found: dict[str, list[str]] = {}
    for line in requires(_PACKAGE) or ():
        parts = _REQUIREMENT.match(line)
        if parts:
            found.setdefault(parts[2], []).append(parts[1])
    return {extra: tuple(names) for extra, names in found.items()}


def modules_of(extra: str) -> tuple[str, ...]:
    """The modules that an extra makes importable, one for each of its distributions."""
    return tuple(
        _MODULES.get(name.lower(), name.replace("-", "_"))
        for name in packages()[extra]
        if name != _PACKAGE  # `all` is made of the other extras
    )


def _missing(extra: str) -> list[str]:
    return [name for name in modules_of(extra) if not _is_there(name)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # half imported by somebody else: it is there
        return True


def _listed(names: list[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
