"""What `pairuni-train run --plan` says a step takes in memory, beside what the step takes.

    python tests/bench/training_memory.py [--sizes tiny 118m 1b]

The tiny model is trained as its recipe says; random weights of 118 million parameters are trained
whole, with a probe that looks at every step, and of a billion by adapters, with short texts and few
rollouts. Each is planned in a process of its own, which says what it held before weights were
loaded. Both figures are what comes on top of that. The bound is 50 MB for the tiny model and 15 %
for the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.child_usage import run_measured

WITHIN, SHARE = 50e6, 0.15
FEW = {
    "pairs_per_step": 2,
    "und.rollouts": 4,
    "gen.rollouts": 4,
    "rollout_batch": 8,
    "micro_batch": 8,
}


class Case(NamedTuple):
    """A training: the tiny model's, or that of random weights of a decoder's width and depth."""

    hidden: int = 0
    layers: int = 0
    settings: dict[str, object] = {}


CASES = {
    "tiny": Case(),
    "118m": Case(768, 16, {**FEW, "probe.every": 1, "probe.halves": False}),
    "1b": Case(2048, 20, {**FEW, "probe.every": 0, "lora": {"rank": 16}}),
}


def write(folder: Path, case: Case) -> None:
    """Write random weights of a size, in float32."""
    from pairuni_eval.tiny.janus import TinySize, build, save

    heads, inner = case.hidden // 64, case.hidden * 11 // 4
    size = TinySize(hidden=case.hidden, layers=case.layers, heads=heads, feed_forward=inner)
    save(build(0, size), folder, recipe="random", step=0)


def plan(name: str, checkpoint: str) -> None:
    """Plan a training here; prints, in bytes, the figure and what two steps took."""
    from rich.console import Console

    from pairuni_train.config import find_arm, find_recipe
    from pairuni_train.plan import plan as planned
    from pairuni_train.setup import Job

    recipe = find_recipe("tiny", {"checkpoint": checkpoint, **CASES[name].settings})
    job = Job(find_arm("pairuni"), recipe, None, 0, Path("planned"))
    print(json.dumps(planned(job, Console(stderr=True))))


def measure(name: str) -> bool:
    """Plan a training in a process of its own and print both figures; whether they agree."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "janus"
        if case.layers:
            write(folder, case)
        checkpoint = str(folder) if case.layers else "tiny"
        done = run_measured([sys.executable, __file__, "--plan", name, checkpoint])
    told, took = json.loads(done.out.splitlines()[-1])
    apart = took - told
    bound = SHARE * took if case.layers else WITHIN
    print(
        f"{name:6} told {told / 1e9:6.3f} GB  took {took / 1e9:6.3f} GB  apart "
        f"{apart / 1e6:+6.0f} MB, {apart / took:+.1%}  bound {bound / 1e6:.0f} MB",
        flush=True,
    )
    return abs(apart) <= bound


def main() -> None:
    """Print a line for each size; ends with 1 where one is out of its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--plan", nargs=2)
    given = parser.parse_args()
    if given.plan:
        plan(*given.plan)
        return
    found = [measure(name) for name in given.sizes]
    sys.exit(not all(found))


if __name__ == "__main__":
    main()
