"""Kill a run at random moments, finish it, and compare every byte.

    python tests/invariant/kill_trial.py [--checkpoint tiny] [--kills 20] [--seed 0] [--ranks 1]
        [-- OPTIONS]

The options are those of `pairuni-eval run`, by default `--suite tiny`. Each kill is SIGKILL to a
fresh command, a random moment after it was seen to get further than the one
before; the first few come while it plans. With `--ranks 1,2,3` each command is started on one of
these numbers of ranks, by chance, and every other kill is of one of them alone, by which the others
must end by themselves. Prints one line a kill; the exit code is 1 on a difference.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.training_fork_server import world

LEFT_OUT = {"journal.jsonl", "cost.md", "cost.svg", ".lock"}
PLANNING_KILLS = 3
LONGEST = 0.9  # seconds between a sign of progress and the kill


def main() -> int:
    """Run the trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", default="1")
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
        numbers, rng = [int(one) for one in given.ranks.split(",")], random.Random(given.seed)
        kill_often(asked, base / "killed", given.kills, rng, numbers)
        if start(asked, base / "killed", rng.choice(numbers)).wait():
            return 1
        return compare(contents(base / "whole"), contents(base / "killed"))


class Command:
    """A run on so many ranks, all in a process group of their own."""

    def __init__(self, asked: Sequence[str], folder: Path, ranks: int) -> None:
        places = ["--out", str(folder / "run"), "--report", str(folder / "report")]
        words = [sys.executable, "-m", "pairuni_eval", "run", *asked, *places]
        self.processes: list[subprocess.Popen[bytes]] = []
        for environment in world(ranks) if ranks > 1 else [{}]:
            self.processes.append(
                subprocess.Popen(
                    words,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **environment},
                    process_group=self.processes[0].pid if self.processes else 0,
                )
            )

    @property
    def ended(self) -> bool:
        """Whether no process of it is left."""
        return all(process.poll() is not None for process in self.processes)

    def kill(self) -> None:
        """End all of it."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()

    def kill_one(self, rng: random.Random) -> None:
        """End one process of it, and wait until the others have ended."""
        rng.choice(self.processes).kill()
        self.wait()

    def wait(self) -> int:
        """The first exit code that is not 0, else 0."""
        codes = [process.wait(timeout=600) for process in self.processes]
        return next((code for code in codes if code), 0)


def start(asked: Sequence[str], folder: Path, ranks: int = 1) -> Command:
    """Start a run."""
    return Command(asked, folder, ranks)


def kill_often(
    asked: Sequence[str], folder: Path, kills: int, rng: random.Random, numbers: Sequence[int]
) -> None:
    """Start and kill, again and again in one folder; from nothing again once it is complete."""
    run = folder / "run"
    for number in range(1, kills + 1):
        if (run / "COMPLETE").exists():
            shutil.rmtree(folder)
        planning = not (run / "run.json").exists() and number <= PLANNING_KILLS
        before, ranks = progress(run), rng.choice(numbers)
        command = start(asked, folder, ranks)
        while not command.ended and (not run.exists() if planning else progress(run) == before):
            time.sleep(0.005)
        end = time.perf_counter() + rng.uniform(0, LONGEST)
        while not command.ended and time.perf_counter() < end:
            time.sleep(0.005)
        if number % 2 == 0 and ranks > 1 and not planning:  # all of them have met
            command.kill_one(rng)
        command.kill()
        words = f"{ranks} ranks, " if ranks > 1 else ""
        print(f"kill {number:2}: {words}code {command.wait()}, {state(run)}", flush=True)


def rows(run: Path, name: str) -> int:
    """Whole lines of a table's rows, whichever rank wrote them."""
    found = 0
    for path in (run / "rows").glob(f"{name}*.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            found += path.read_bytes().count(b"\n")
    return found


def progress(run: Path) -> tuple[object, ...]:
    """What changes when a started run has got further than the one before."""
    names = ("samples.parquet", "outputs.parquet", "scores.parquet", "COMPLETE")
    return (
        rows(run, "outputs"),
        rows(run, "scores"),
        *((run / name).exists() for name in names),
    )


def state(run: Path) -> str:
    """What a run folder holds, in words."""
    if (run / "COMPLETE").exists():
        return "complete"
    if (run / "samples.parquet").exists():
        return "compacting"
    counts = ", ".join(f"{rows(run, name)} {name}" for name in ("samples", "outputs", "scores"))
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
