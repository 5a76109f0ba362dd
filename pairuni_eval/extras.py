"""Packages that only some commands need: which extra brings them, and what to say without them.

What an extra brings stands in pyproject.toml alone; it is read from the installed distribution. A
plugin class that needs one names it as `extra`, a command asks `needs` before its work begins.
"""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError

_PACKAGE = "pairuni"
_REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+).*;.*\bextra == ["']([A-Za-z0-9._-]+)["']""")
_MODULES = {  # where it is not the name itself
    "faiss-cpu": "faiss",
    "levenshtein": "Levenshtein",
    "scikit-learn": "sklearn",
}
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
        noun, verb = ("package", "is") if len(names) == 1 else ("packages", "are")
        raise UserError(
            f"{what} needs the {noun} {_listed(names)}, which {verb} not installed.",
            hint=pip_line(*lacking),
        )


def extra_of(plugin: Any) -> tuple[str, ...]:
    """The extra that a plugin class names as its own, none if it names none."""
    extra = getattr(plugin, "extra", None)
    return (extra,) if isinstance(extra, str) else ()


def pip_line(*extras: str) -> str:
    """The command that installs some extras: from the folder that we were installed from, if any.

    It names the folder's constraints, so that what is added fits what is there.
    """
    wanted = ",".join(extras)
    source = _source()
    if source is None:
        return as_typed("python", "-m", "pip", "install", f"{_PACKAGE}[{wanted}]")
    folder = Path() if source.folder == Path.cwd() else source.folder
    names = [_CONSTRAINTS, *(_OWN_CONSTRAINTS[e] for e in extras if e in _OWN_CONSTRAINTS)]
    there = [folder / name for name in names if (folder / name).is_file()]
    words = [word for path in there for word in ("-c", path)]
    words += ["-e"] if source.editable else []
    return as_typed("python", "-m", "pip", "install", *words, f"{folder}[{wanted}]")


class _Source(NamedTuple):
    """The folder that the package was installed from."""

    folder: Path
    editable: bool


def _source() -> _Source | None:
    """Where pip says that the package is from, or the clone we stand in; None for neither."""
    from importlib.metadata import distribution

    record = json.loads(distribution(_PACKAGE).read_text("direct_url.json") or "{}")
    parts = urlsplit(record.get("url", ""))
    folder = Path(unquote(parts.path))
    if parts.scheme == "file" and _is_clone(folder):
        return _Source(folder, bool(record.get("dir_info", {}).get("editable")))
    return _Source(Path.cwd(), editable=False) if _is_clone(Path.cwd()) else None


def _is_clone(folder: Path) -> bool:
    return (folder / _CONSTRAINTS).is_file() and (folder / "pairuni_eval").is_dir()


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


def module_of(name: str) -> str:
    """The module that a distribution makes importable."""
    return _MODULES.get(name, name.replace("-", "_"))


def _missing(extra: str) -> list[str]:
    return [name for name in packages()[extra] if not _is_there(module_of(name))]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # half imported by somebody else: it is there
        return True


def _listed(names: list[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
