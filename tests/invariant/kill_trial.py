"""Kill a run at random moments, finish it, and compare every byte.

    python tests/invariant/kill_trial.py [--checkpoint tiny] [--kills 20] [--seed 0] [-- OPTIONS]

The options are those of `pairuni-eval run`, by default `--suite tiny`. Each kill is SIGKILL to the
process group of a fresh command, a random moment after it was seen to get further than the one
before; the first few come while it plans. Prints one line a kill; the exit code is 1 on a
difference.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LEFT_OUT = {"journal.jsonl", "cost.md", "cost.svg", ".lock"}
PLANNING_KILLS = 3
LONGEST = 0.9  # seconds between a sign of progress and the kill


def main() -> int:
    """Run the trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*", default=["--suite", "tiny"])
    given = parser.parse_args()
    asked = ["--checkpoint", given.checkpoint, *given.options]
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        started = time.perf_counter()
        if start(asked, base / "whole").wait():
            return 1
        seconds = time.perf_counter() - started
        print(f"uninterrupted: {seconds:.1f} s, {len(contents(base / 'whole'))} files", flush=True)
        kill_often(asked, base / "killed", given.kills, random.Random(given.seed))
        if start(asked, base / "killed").wait():
            return 1
        return compare(contents(base / "whole"), contents(base / "killed"))


def start(asked: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """A run in a process group of its own."""
    places = ["--out", str(folder / "run"), "--report", str(folder / "report")]
    return subprocess.Popen(
        [sys.executable, "-m", "pairuni_eval.cli", "run", *asked, *places],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_often(asked: Sequence[str], folder: Path, kills: int, rng: random.Random) -> None:
    """Start and kill, again and again in one folder; from nothing again once it is complete."""
    run = folder / "run"
    for number in range(1, kills + 1):
        if (run / "COMPLETE").exists():
            shutil.rmtree(folder)
        planning = not (run / "run.json").exists() and number <= PLANNING_KILLS
        before = progress(run)
        process = start(asked, folder)
        while process.poll() is None and (
            not run.exists() if planning else progress(run) == before
        ):
            time.sleep(0.005)
        end = time.perf_counter() + rng.uniform(0, LONGEST)
        while process.poll() is None and time.perf_counter() < end:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        print(f"kill {number:2}: code {code}, {state(run)}", flush=True)


def rows(run: Path, name: str) -> int:
    """Whole lines of a rows file."""
    path = run / "rows" / f"{name}.jsonl"
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def progress(run: Path) -> tuple[object, ...]:
    """What changes when a started run has got further than the one before."""
    names = ("samples.parquet", "outputs.parquet", "scores.parquet", "COMPLETE")
    return (
        rows(run, "outputs-rank0"),
        rows(run, "scores-rank0"),
        *((run / name).exists() for name in names),
    )


def state(run: Path) -> str:
    """What a run folder holds, in words."""
    if (run / "COMPLETE").exists():
        return "complete"
    if (run / "samples.parquet").exists():
        return "compacting"
    counts = ", ".join(
        f"{rows(run, name)} {name}" for name in ("samples", "outputs-rank0", "scores-rank0")
    )
    return counts + ("" if (run / "run.json").exists() else ", not planned")


def contents(folder: Path) -> dict[str, str]:
    """Every file by digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in LEFT_OUT
    }


def compare(whole: dict[str, str], killed: dict[str, str]) -> int:
    """Print what differs."""
    different = [name for name in whole if killed.get(name, whole[name]) != whole[name]]
    print(f"missing: {sorted(set(whole) - set(killed))}")
    print(f"extra: {sorted(set(killed) - set(whole))}")
    print(f"different: {different}")
    print("IDENTICAL" if whole == killed else "NOT IDENTICAL")
    return int(whole != killed)


if __name__ == "__main__":
    sys.exit(main())
