"""How a command line ends, and whether it is quick."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import typer.main

# Building it from its functions takes longer than much of what a command does.
_built_once = cache(typer.main.get_command)


def processor_seconds(*arguments: str) -> float:
    """Processor time of `python ARGUMENTS`, its own and the system's for it.

    A bound on it holds on a busy machine too; the time by the clock is the same on a quiet one
    where nothing is waited for.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def is_light(*arguments: str) -> bool:
    """Whether `python ARGUMENTS` takes half a second, at best of twelve times.

    On a slow or very busy processor it may take twice what a command that does nothing takes there
    with the same libraries; importing torch takes several times as long.
    """
    bound = max(0.5, 2 * _libraries())
    return any(processor_seconds(*arguments) < bound for _ in range(12))


@cache
def _libraries() -> float:
    nothing = "import sys, typer, rich.markdown, msgspec; sys.argv = ['x']; typer.run(lambda: None)"
    libraries = ("-c", nothing)
    return min(processor_seconds(*libraries) for _ in range(3))


class Ran(NamedTuple):
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one error line, without its word in front."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, f"expected one error line in:\n{self.err}"
        return lines[0].removeprefix("Error: ")

    @property
    def next(self) -> str:
        """The line that says what to do next, on either stream."""
        lines = [x for x in (self.out + self.err).splitlines() if x.startswith("Next:")]
        assert len(lines) == 1, f"expected one next line in:\n{self.out}{self.err}"
        return lines[0].removeprefix("Next:").strip()


Cli = Callable[..., Ran]


def command_line(
    name: str,
    main: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Cli:
    """`NAME ARGUMENTS` in this process: what it printed, and how it ended.

    What the command line does not catch, the test sees as an exception.
    """

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(typer.main, "get_command", _built_once)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        said = capfd.readouterr()
        return Ran(code, said.out, said.err)

    return run
