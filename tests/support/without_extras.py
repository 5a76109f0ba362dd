"""Runs commands one after another where none of the extras' packages can be imported.

    python tests/support/without_extras.py COMMANDS.json ENDED.json

COMMANDS is a list of [program, argument, ...] with pairuni-eval or pairuni-train as program; ENDED
becomes a list of {"code", "out", "err", "left"}, where `left` are the files that a command added
below the working folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from pairuni_eval.extras import module_of, packages

NOT_FOR_USERS = ("dev", "all")


def main() -> None:
    """Block the packages, run the commands."""
    for extra, names in packages().items():
        if extra not in NOT_FOR_USERS:
            for name in names:
                # As where it is not installed: an import of it is a ModuleNotFoundError.
                sys.modules[module_of(name)] = None  # type: ignore[assignment]
    commands, ended = map(Path, sys.argv[1:])
    ended.write_text(json.dumps([_ran(words) for words in json.loads(commands.read_text())]))


def _ran(words: list[str]) -> dict[str, Any]:
    from pairuni_eval.cli import main as evaluate
    from pairuni_train.cli import main as train

    before = _files()
    sys.argv = words
    code: Any = 0
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            {"pairuni-eval": evaluate, "pairuni-train": train}[words[0]]()
        except SystemExit as end:
            code = end.code or 0
        except Exception:  # noqa: BLE001 - a traceback is what is looked for
            traceback.print_exc()
            code = 1
    left = sorted(_files() - before)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "left": left}


def _files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
