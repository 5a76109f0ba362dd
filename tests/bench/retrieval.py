"""Pairing 47,000 x 60,000 images of 2,048 features against a plain matrix product of that size.

Random unit vectors lie in files that are mapped into memory, as `pairs build` leaves them. A
generation vector is a mixture of an understanding vector and noise, so that about a third find a
partner above the threshold. The product is the best of numpy and torch on this machine, block by
block into one buffer; it takes turns with the pairing, a wave each, so that a machine that slows
down slows both. Added memory is what the process holds beyond the mapped files and the product's
buffer (RssAnon), sampled while both run.

    python tests/bench/retrieval.py [--understanding 47000] [--generation 60000] [--width 2048]

With `--photographs 5000`: the pairs of so many crops of photographs on each side,
against the naive float64 rule of `tests/support/pair_sources.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.pair_sources import FloatArray, naive_pairs, photograph_features

from pairuni_train.pair_data.nearest import ExactIndex
from pairuni_train.pair_data.retrieve import retrieve
from pairuni_train.pair_data.search_waves import RetrievedMatch, Search

BLOCK = 2048
THRESHOLD = 0.6
GIB = 2**30


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--understanding", type=int, default=47_000)
    parser.add_argument("--generation", type=int, default=60_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--photographs", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.photographs:
        compare_with_the_naive_rule(chosen.photographs)
        return
    with tempfile.TemporaryDirectory() as folder:
        shape = (chosen.understanding, chosen.generation, chosen.width)
        race(*random_features(Path(folder), *shape), Path(folder))


def random_features(
    folder: Path, understanding: int, generation: int, width: int
) -> tuple[FloatArray, FloatArray]:
    """Unit vectors of both sides, mapped from files."""
    rng = np.random.default_rng(0)
    u_UD = mapped(folder / "u.npy", (understanding, width))
    g_GD = mapped(folder / "g.npy", (generation, width))
    for rows in blocks(len(u_UD)):
        u_UD[rows] = unit(rng.standard_normal(u_UD[rows].shape, dtype=np.float32))
    for rows in blocks(len(g_GD)):
        noise = unit(rng.standard_normal(g_GD[rows].shape, dtype=np.float32))
        like = u_UD[rng.integers(0, len(u_UD), len(noise))]
        share = rng.uniform(0, 0.9, (len(noise), 1)).astype(np.float32)
        g_GD[rows] = unit(share * like + np.sqrt(1 - share**2) * noise)
    return u_UD, g_GD


def mapped(path: Path, shape: tuple[int, int]) -> FloatArray:
    """A matrix in a file."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)


def blocks(count: int) -> list[slice]:
    """Slices of `BLOCK` rows."""
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def unit(rows_ND: FloatArray) -> FloatArray:
    """Rows at length one."""
    return rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)


class Clock:
    """Wall and processor seconds of what is timed, added up."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def time(self, work: Callable[[], Any]) -> None:
        """Do some work and add its time."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


def race(u_UD: FloatArray, g_GD: FloatArray, folder: Path) -> None:
    """Time product and pairing, and print."""
    work = 2e-9 * len(u_UD) * len(g_GD) * u_UD.shape[1]
    name, product = best_product(u_UD, g_GD)
    plain, both = Clock(), Clock()
    found: list[RetrievedMatch] = []
    through = 0

    def take_turn(count: int) -> None:
        nonlocal through
        some = [slice(through + x.start, through + x.stop) for x in blocks(count)]
        plain.time(lambda: product(some))
        through += count

    def pair() -> None:
        found.extend(pairs_of(u_UD, g_GD, folder / "parts", done=take_turn))

    with AddedMemory() as memory:
        both.time(pair)
    wall, cpu = both.wall - plain.wall, both.cpu - plain.cpu
    shape = f"{len(u_UD):,} x {len(g_GD):,} x {u_UD.shape[1]:,}"
    print(f"{shape}, {torch.get_num_threads()} threads")
    for title, clock in ((f"plain product ({name})", plain.wall), ("pairing", wall)):
        print(f"{title:<24}{clock:8.1f} s{work / clock:8.1f} GFLOP/s")
    print(f"speed of the pairing    {plain.wall / wall:8.1%} of the product's")
    print(f"  by processor time     {plain.cpu / cpu:8.1%}")
    print(f"added memory            {memory.peak / GIB:8.2f} GiB")
    print(f"pairs                   {len(found):8,} with a cosine of {THRESHOLD} and more")


def pairs_of(
    u_UD: FloatArray,
    g_GD: FloatArray,
    folder: Path,
    *,
    threshold: float = THRESHOLD,
    done: Callable[[int], None] = lambda _: None,
) -> list[RetrievedMatch]:
    """The pairs of all images, searched exactly."""
    ids_U = [f"u{n:08d}" for n in range(len(u_UD))]
    search = Search.of_all(u_UD, g_GD)
    return retrieve(search, ExactIndex(u_UD), ids_U, folder, threshold=threshold, done=done).matches


def best_product(u_UD: FloatArray, g_GD: FloatArray) -> tuple[str, Callable[[list[slice]], None]]:
    """The faster of numpy and torch at this product on this machine."""
    buffer = np.empty((BLOCK, len(u_UD)), dtype=np.float32)
    u_torch, g_torch, out_torch = map(torch.from_numpy, (u_UD, g_GD, buffer))

    def by_numpy(some: list[slice]) -> None:
        for rows in some:
            np.matmul(g_GD[rows], u_UD.T, out=buffer[: rows.stop - rows.start])

    def by_torch(some: list[slice]) -> None:
        for rows in some:
            torch.matmul(g_torch[rows], u_torch.T, out=out_torch[: rows.stop - rows.start])

    products = {"numpy": by_numpy, "torch": by_torch}
    some = blocks(len(g_GD))[:1]
    times = {
        name: min(seconds(lambda p=p: p(some)) for _ in range(3)) for name, p in products.items()
    }
    name = min(times, key=times.__getitem__)
    return name, products[name]


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class AddedMemory:
    """Samples how much memory the process holds beyond mapped files; `peak` is above the start."""

    def __enter__(self) -> AddedMemory:
        self.peak = 0
        self._start = anonymous_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, anonymous_bytes() - self._start)


def anonymous_bytes() -> int:
    """RssAnon of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def compare_with_the_naive_rule(count: int) -> None:
    """Pair crops of photographs by both rules and say whether the pairs are equal."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    data = [(folder / name).read_bytes() for name in names]
    u_UD, g_GD = (photograph_features(data, count, seed=seed) for seed in (1, 2))
    for threshold in (0.6, 0.9):
        expected = naive_pairs(u_UD, g_GD, threshold=threshold)
        with tempfile.TemporaryDirectory() as parts:
            found = pairs_of(u_UD, g_GD, Path(parts), threshold=threshold)
        equal = [(m.understanding, m.generation) for m in found] == expected
        words = "the same pairs" if equal else "OTHER PAIRS"
        print(f"{count:,} + {count:,}, threshold {threshold}: {len(found):,} pairs, {words}")


if __name__ == "__main__":
    main()
