"""What a training leaves in its folder: by digest, by line, and at the moment it is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

TIMED = frozenset({"seconds.jsonl", "watching.jsonl", "journal.jsonl", ".lock"})


def contents(out: Path) -> dict[str, str]:
    """Every file by digest, but those that hold seconds or the time of day."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in TIMED
    }


def kill_after(process: int, out: Path, steps: int) -> None:
    """SIGKILL as soon as so many steps have left a line."""
    end = time.monotonic() + 120
    while lines(out / "metrics.jsonl") < steps:
        assert time.monotonic() < end, "the run does not get that far"
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0
