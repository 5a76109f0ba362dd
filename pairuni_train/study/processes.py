"""Commands of a study, each a process of its own whose words are kept in a log."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple


class Failure(NamedTuple):
    """A command that did not end well, and where its words are."""

    command: str
    log: Path


def run_logged(
    command: Sequence[str], log: Path, *, workers: int = 1, folder: Path | None = None
) -> Failure | None:
    """Run a command, its words appended to a log; the failure if it did not end well.

    Args:
        command: The command.
        log: Where its words go.
        workers: How many processes run at a time; they share the cores, not fight for them.
        folder: Where it runs from.
    """
    environment = dict(os.environ)
    if workers > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        stream.write(f"\n$ {shlex.join(command)}\n".encode())
        stream.flush()
        ended = subprocess.run(
            list(command), stdout=stream, stderr=stream, env=environment, cwd=folder, check=False
        )
    return Failure(shlex.join(command), log) if ended.returncode else None


def run_together(
    work: Mapping[str, Callable[[], Failure | None]], workers: int, done: Callable[[str], None]
) -> list[Failure]:
    """Do named pieces of work, so many at a time; `done` hears the name of each.

    What fails does not stop the others.
    """
    failures: list[Failure] = []
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(one): name for name, one in work.items()}
        for future in as_completed(futures):
            failure = future.result()
            if failure is not None:
                failures.append(failure)
            done(futures[future])
    finally:  # an interruption reaches the running commands as well; none begins after it
        pool.shutdown(cancel_futures=True)
    return failures


def measure_command(
    checkpoint: Path | str, out: Path, *what: str, report: bool = True
) -> list[str]:
    """The command that measures a checkpoint into the run folder `out`, with its report or not."""
    return [
        *(sys.executable, "-m", "pairuni_eval.cli", "run", "--checkpoint", str(checkpoint)),
        *(*what, "--out", str(out), "--report", str(out / "report") if report else "none"),
    ]


def given_options(options: Mapping[str, object]) -> list[str]:
    """The words of the options that have a value."""
    return [str(word) for pair in options.items() if pair[1] is not None for word in pair]


def last_words(log: Path) -> str:
    """The last error line of a log, for people."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if re.match(r"(\w*Error|Error):", line)]
    return (errors or lines or [""])[-1]
