"""Every ratio of README's Speed section against its peer, in one table: `nox -s bench`.

Each line is measured in this run, its contenders by turns, on one thread: the median of the rounds
with the quartiles beside it. A few minutes; the first compiled picture takes half a minute of them.

    python tests/bench/speed_table.py [--rounds 9] [--lines sampler,step,probe,again]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import image_sampler
import pairgrpo_step
import probe_cost
import torch
import transformers
from spread import Spread, ratios, spread
from support.command_line import processor_seconds

from pairuni_eval.adapters import load_model
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.models.janus import JanusModel

LOADING = "from pairuni_eval.adapters import load_model as load\n"
LOADING += "from pairuni_eval.models.base import LoadOptions\nload('tiny', None, LoadOptions())"


class Line(NamedTuple):
    """A line of the table: what was measured, against what, and how the numbers are written."""

    what: str
    peer: str
    found: Spread
    form: str
    unit: str


def sampler(rounds: int) -> Iterator[Line]:
    """Images per second of the sampler, plain and compiled, in three mixes of a batch of 16."""
    model = load_model("tiny", "janus", LoadOptions())
    assert isinstance(model, JanusModel)
    for share in image_sampler.IMAGES_PER_PROMPT:
        times = image_sampler.taken(image_sampler.contenders(model, share, 5.0), rounds)
        peer = times.pop(image_sampler.PEER)
        for name, mine in times.items():
            mix = f"{image_sampler.BATCH // share} prompts x {share} images, CFG 5: {name}"
            yield Line(mix, image_sampler.PEER, spread(ratios(peer, mine)), ".2f", " x")


def step(rounds: int) -> Iterator[Line]:
    """A PairGRPO step with a penalty and without one, as transformers draws: under guidance."""
    plain = "a plain loop over transformers"
    settings = {
        "4 pairs, CFG 5, beta 0.01": pairgrpo_step.Setting(),
        "4 pairs, CFG 5, beta 0": pairgrpo_step.Setting(beta=0.0),
    }
    for words, setting in settings.items():
        found = pairgrpo_step.measured(setting, rounds).ratios
        yield Line(f"a PairGRPO step, {words}", plain, spread(found), ".2f", " x")


def probe(rounds: int) -> Iterator[Line]:
    """What a look at the gradients adds to a step."""
    found = probe_cost.measured("tiny", 8, rounds).shares
    yield Line("a look at the gradients", "a step, beyond one copy", spread(found), "+.1%", "")


def again(rounds: int) -> Iterator[Line]:
    """Processor time of the command of a finished run, beside that of loading its model."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", "pairuni_eval", "run", "--checkpoint", "tiny")
        command = (*words, "--out", f"{folder}/run", "--report", f"{folder}/report")
        processor_seconds(*command)
        loading, mine = [], []
        for _ in range(rounds):
            loading.append(processor_seconds("-c", LOADING))
            mine.append(processor_seconds(*command))
    what = "the command of a finished run of seven benchmarks"
    yield Line(what, "loading its model", spread(ratios(loading, mine)), ".1f", " x")
    yield Line(what, "", spread(mine), ".2f", " s of processor time")


PARTS: dict[str, Callable[[int], Iterator[Line]]] = {
    "sampler": sampler,
    "step": step,
    "probe": probe,
    "again": again,
}


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lines", default=",".join(PARTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    chosen = given.lines.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--lines: there is no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    print(f"medians of {given.rounds} rounds with quartiles, one thread, checkpoint tiny\n")
    print(f"{'':58}  {'against':32}  median (quartiles)")
    for name in chosen:
        for line in PARTS[name](given.rounds):
            print(
                f"{line.what:58}  {line.peer:32}  {line.found.words(line.form)}{line.unit}",
                flush=True,
            )


if __name__ == "__main__":
    main()
