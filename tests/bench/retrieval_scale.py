"""Retrieval at scale: exact search, an IVF index, k-means from the disk: seconds and memory.

Random unit vectors lie in files that are mapped into memory, as many on either side (those of
`retrieval.py`: a third of the generation vectors have a partner above the threshold). Each
measurement is a process of its own. Added memory is what it holds beyond mapped files (RssAnon),
sampled while it works; beside it stands what both sides take on the disk. A plain product of one
block, timed in the same process, says how fast the machine was then. What was not measured is
extrapolated and says so: exact search multiplies every image with every other, so its time grows
with the square.

Random vectors are the hardest case for an IVF index: nothing but its partner is near a query, and
lists have no shape to follow. Images of a real source lie in clusters.

    python tests/bench/retrieval_scale.py [--exact 65536 131072 262144] [--ivf 1000000]
        [--means 131072] [--clusters 256] [--width 512] [--nlist N] [--nprobe N]
        [--folder DIR] [--out FILE.json]

A million images of 512 features take 4 GB in the folder, and the index 2 GB more.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from retrieval import GIB, THRESHOLD, AddedMemory, pairs_of, random_features
from support.pair_sources import FloatArray

from pairuni_train.pair_data.feature_files import StackedFeatures
from pairuni_train.pair_data.ivf import IvfIndex, ivf_spec, measure_recall, write_ivf
from pairuni_train.pair_data.retrieve import retrieve
from pairuni_train.pair_data.search_waves import Search
from pairuni_train.pair_data.select import medoids

EXTRAPOLATED = 1_000_000
ROWS = (2048, 16_384)  # of the plain product
KINDS = ("exact", "ivf", "means")


class Measured(NamedTuple):
    """One measurement.

    Attributes:
        kind: What was measured.
        images: On either side.
        seconds: By the clock.
        processor: Seconds of all threads.
        memory: Bytes that were added at most.
        peer: GFLOP/s of the plain product in the same process.
        words: What else is to be said.
    """

    kind: str
    images: int
    seconds: float
    processor: float
    memory: int
    peer: float
    words: str


def main() -> None:
    """Run the bench."""
    chosen = arguments()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.one:
            kind, images = chosen.one
            print(json.dumps(measure(kind, int(images), chosen, Path(folder))))
            return
    found: list[Measured] = []
    for kind, sizes in zip(KINDS, (chosen.exact, chosen.ivf, chosen.means), strict=True):
        for images in sizes:
            for one in in_a_process(kind, images):
                found.append(one)
                print(line_of(one, chosen.width), flush=True)
    for line in growth([one for one in found if one.kind == "exact"], chosen.width):
        print(line)
    if chosen.out:
        chosen.out.write_text(json.dumps([one._asdict() for one in found], indent=2) + "\n")
        print(f"Written: {chosen.out}")


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exact", type=int, nargs="*", default=[65_536, 131_072, 262_144])
    parser.add_argument("--ivf", type=int, nargs="*", default=[EXTRAPOLATED])
    parser.add_argument("--means", type=int, nargs="*", default=[131_072])
    parser.add_argument("--clusters", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--nlist", type=int)
    parser.add_argument("--nprobe", type=int)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "IMAGES"), help=argparse.SUPPRESS)
    return parser.parse_args()


def in_a_process(kind: str, images: int) -> list[Measured]:
    """Measure in a process that has held nothing before."""
    words = [sys.executable, __file__, *sys.argv[1:], "--one", kind, str(images)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [Measured(*one) for one in json.loads(said.splitlines()[-1])]


# One process


def measure(kind: str, images: int, chosen: argparse.Namespace, folder: Path) -> list[Measured]:
    """What a process measures."""
    u_UD, g_GD = random_features(folder, images, images, chosen.width)
    peer = product_rate(u_UD, g_GD)
    if kind == "exact":
        work: dict[str, Callable[[], str]] = {
            "exact": lambda: f"{len(pairs_of(u_UD, g_GD, folder / 'parts')):,} pairs"
        }
    elif kind == "means":
        work = {f"{chosen.clusters}-means": lambda: clustered(u_UD, g_GD, chosen.clusters)}
    else:
        index = Ivf(u_UD, g_GD, folder, chosen)
        work = {"ivf made": index.make, "ivf searched": index.search, "ivf recall": index.recall}
    return [timed(name, images, one, peer) for name, one in work.items()]


def timed(kind: str, images: int, work: Callable[[], str], peer: float) -> Measured:
    """One measurement of some work, which says what else is to be said."""
    with AddedMemory() as memory:
        wall, processor = time.perf_counter(), processor_seconds()
        words = work()
        wall, processor = time.perf_counter() - wall, processor_seconds() - processor
    return Measured(kind, images, wall, processor, memory.peak, peer, words)


def processor_seconds() -> float:
    """Of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def product_rate(u_UD: FloatArray, g_GD: FloatArray) -> float:
    """GFLOP/s of a plain product, the best of five."""
    queries, images = (np.asarray(x[:rows]) for x, rows in zip((g_GD, u_UD), ROWS, strict=True))
    out = np.empty((len(queries), len(images)), dtype=np.float32)

    def once() -> float:
        start = time.perf_counter()
        np.matmul(queries, images.T, out=out)
        return time.perf_counter() - start

    return 2e-9 * out.size * queries.shape[1] / min(once() for _ in range(5))


def clustered(u_UD: FloatArray, g_GD: FloatArray, clusters: int) -> str:
    """Both sides clustered from the disk."""
    features = StackedFeatures([u_UD, g_GD])
    names = [f"{row:08d}" for row in range(len(features))]
    found = medoids(features, names, clusters=clusters, seed=0, in_memory=1)
    return f"{len(found.members):,} medoids of both sides"


class Ivf:
    """What is done with an index, step by step."""

    def __init__(
        self, u_UD: FloatArray, g_GD: FloatArray, folder: Path, chosen: argparse.Namespace
    ) -> None:
        self._sides, self._folder = (u_UD, g_GD), folder
        self._spec = ivf_spec(len(u_UD), chosen.nlist, chosen.nprobe)

    def make(self) -> str:
        """Train it and fill it."""
        write_ivf(self._sides[0], self._folder / "u.faiss", nlist=self._spec.nlist, seed=0)
        return str(self._spec)

    def search(self) -> str:
        """Pair by it."""
        ids_U = [f"u{row:08d}" for row in range(len(self._sides[0]))]
        search, folder = Search.of_all(*self._sides), self._folder / "parts"
        found = retrieve(search, self._index(), ids_U, folder, threshold=THRESHOLD)
        return f"{len(found.matches):,} pairs"

    def recall(self) -> str:
        """Compare it with exact search."""
        index = self._index()
        return str(measure_recall(*self._sides, index, threshold=THRESHOLD, queries=1000, seed=0))

    def _index(self) -> IvfIndex:
        return IvfIndex(self._folder / "u.faiss", nprobe=self._spec.nprobe)


# In words


def line_of(one: Measured, width: int) -> str:
    """A measurement on one line."""
    both = 8 * one.images * width / GIB
    rate = f"{2e-9 * one.images**2 * width / one.seconds:.0f} of " if one.kind == "exact" else ""
    return (
        f"{one.kind:<15}{one.images:>10,} images{one.seconds:>10.1f} s{one.processor:>10.1f} s of "
        f"processor{one.memory / GIB:>8.2f} GiB added (both sides {both:.2f})   "
        f"{rate}{one.peer:.0f} GFLOP/s   {one.words}"
    )


def growth(exact: Sequence[Measured], width: int) -> list[str]:
    """How exact search grows, and what a million would take."""
    lines = []
    for less, more in pairwise(exact):
        ratio = math.log(more.images / less.images)
        power, of_processor = (
            math.log(after / before) / ratio
            for before, after in ((less.seconds, more.seconds), (less.processor, more.processor))
        )
        lines.append(
            f"from {less.images:,} to {more.images:,}: time grows with the power {power:.2f} "
            f"(processor time {of_processor:.2f}), added memory by "
            f"{(more.memory - less.memory) / GIB:+.2f} GiB"
        )
    if exact:
        last = exact[-1]
        times = (EXTRAPOLATED / last.images) ** 2
        seconds, of_processor = last.seconds * times, last.processor * times
        lines.append(
            f"EXTRAPOLATED, not measured: exact search of {EXTRAPOLATED:,} images would take "
            f"{seconds:,.0f} s ({seconds / 3600:.1f} h; {of_processor / 3600:.1f} h of processor): "
            f"{last.images:,} images by the square; "
            f"features of both sides take {8 * EXTRAPOLATED * width / GIB:.2f} GiB on the disk"
        )
    return lines


if __name__ == "__main__":
    main()
