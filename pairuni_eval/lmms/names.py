"""The tasks of the installed lmms-eval by name, read from its files without importing it.

lmms-eval's own index parses every file and takes ten seconds. Here a task is a YAML file with a
line `task: NAME`; groups and tags, which hold several tasks, are not looked up.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.extras import needs, pip_line

PACKAGE = "lmms_eval"
_TASK_LINE = re.compile(
    r"""^task:[ \t]*(["']?)([^\s"'\[#-][^\s"'#]*)\1[ \t]*(?:\#.*)?$""", re.MULTILINE
)


class TaskFile(NamedTuple):
    """A task of lmms-eval: its name and the YAML file that defines it."""

    name: str
    path: Path

    @property
    def source(self) -> str:
        """The file as repository==version:path."""
        inside = self.path.relative_to(_tasks_folder().parents[1])
        return f"EvolvingLMMs-Lab/{toolkit()}:{inside.as_posix()}"


def toolkit() -> str:
    """The installed lmms-eval with its version, e.g. "lmms-eval==0.7.3"."""
    return f"lmms-eval=={version('lmms-eval')}"


def find_task(name: str) -> TaskFile:
    """The task of that name.

    Raises:
        UserError: if lmms-eval is not installed, has no such task, or has two.
    """
    known = task_files()
    if name not in known:
        raise unknown_name(
            "lmms-eval task", name, known, list_command="python -m lmms_eval --tasks list"
        )
    paths = known[name]
    if len(paths) > 1:
        raise UserError(
            f"lmms-eval defines the task '{name}' in {' and in '.join(map(str, paths))}; which of "
            "them its command takes depends on the file system."
        )
    return TaskFile(name, paths[0])


def task_files() -> Mapping[str, list[Path]]:
    """The files of every task by its name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_tasks_folder().rglob("*.yaml")):
        line = _TASK_LINE.search(path.read_text(encoding="utf-8", errors="replace"))
        if line:
            found.setdefault(line[2], []).append(path)
    return found


def _tasks_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        needs("The benchmark family 'lmms'", "lmms")
        raise UserError(f"The package {PACKAGE} has no folder.", hint=pip_line("lmms"))
    return Path(spec.submodule_search_locations[0]) / "tasks"
