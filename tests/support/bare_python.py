"""A Python of its own that has Pillow and nothing of ours: the environment of another model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import PIL


def bare_python(folder: Path) -> Path:
    """The interpreter of a new environment whose only package is Pillow."""
    home = folder / "bare"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(home)
    packages = next(home.glob("lib/python*/site-packages"))
    for path in Path(PIL.__file__).parents[1].glob("[pP][iI][lL]*"):
        if path.is_dir() and path.name.lower() in ("pil", "pillow.libs"):
            (packages / path.name).symlink_to(path)
    return home / "bin" / "python"


@contextmanager
def served(python: Path, script: Path, *options: str) -> Iterator[str]:
    """A script of a bridge that serves meanwhile; its base_url."""
    environment = {"PATH": os.environ.get("PATH", "")}  # nothing that leads to our packages
    process = subprocess.Popen(
        [python, script, *options],
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        cwd=script.parent,
        env=environment,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # ends with the process, if that fails
        found = re.fullmatch(r'base_url = "(.+)"\n', line)
        assert found is not None, line
        yield found.group(1)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
