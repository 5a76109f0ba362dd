"""How much faster two ranks make the outputs of a run than one, each on one thread.

    python tests/bench/rank_scaling.py [--ranks 2] [--rounds 5] [--limit 200]

Rounds of one process and of several ranks follow one another, each a whole run of the tiny model in
a folder of its own; the time is that of the outputs alone, from the beginning of the first batch to
the end of the last one of any rank, as the journal has it. The machine must have a free core for
each rank. Prints each round and the median of their ratios; the exit code is 1 below the bound, 0.9
of the number of ranks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.training_fork_server import world

ONE_THREAD = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
ASKED = ("run", "--checkpoint", "tiny", "--benchmarks", "tiny-geneval,tiny-pope")
SHARE = 0.9  # of the number of ranks


def main() -> int:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=200)
    given = parser.parse_args()
    ratios = []
    for number in range(1, given.rounds + 1):
        one, several = (output_seconds(ranks, given.limit) for ranks in (1, given.ranks))
        ratios.append(one / several)
        print(
            f"round {number}: {one:.2f} s, {several:.2f} s on {given.ranks} ranks: "
            f"{ratios[-1]:.2f} x",
            flush=True,
        )
    median, bound = statistics.median(ratios), SHARE * given.ranks
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"median {median:.2f} x ({spread}); bound {bound:.2f} x")
    return int(median < bound)


def output_seconds(ranks: int, limit: int) -> float:
    """Seconds of the outputs of one run."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        places = ("--limit", str(limit), "--out", str(run), "--report", "none")
        worlds: list[Mapping[str, str]] = [*world(ranks)] if ranks > 1 else [{}]
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "pairuni_eval", *ASKED, *places],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD, **one},
            )
            for one in worlds
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            sys.exit("a run failed")
        events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    batches = [one for one in events if one["event"] == "batch"]
    began = min(one["time"] - one["seconds"] for one in batches)
    return float(max(one["time"] for one in batches) - began)


if __name__ == "__main__":
    sys.exit(main())
