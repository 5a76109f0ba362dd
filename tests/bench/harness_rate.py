"""Time of our harness per row beyond decoding the data, beside lmms-eval's on the same rows.

    python tests/bench/harness_rate.py [--rows 1000] [--benchmarks pope,mmstar] [--rounds 5]

A thousand rows of each dataset's published columns with real photographs go through a whole run
with a scripted model: planning, execution, grading, compaction. Decoding is what no harness can
leave out: the time inside Pillow (opening, decoding, color conversion) and inside the reader that
turns the parquet file into rows, both measured within the same run. All else is ours, and must stay
below the bound. lmms-eval, where it is installed, evaluates the same files with the same model; the
time inside Pillow and its loading of the files, which it does before, are left out for it as well.
Each figure is the least of several rounds. The run folder lies in memory (/dev/shm) where there is
such a place, so that nothing waits for a disk: the time on the wall is then the processor time,
unless other work holds the processors. The bound is on the latter. A run keeps every image in a
file of its own; what a disk adds is printed for one more run, with the time it takes to create a
file there.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image, ImageFile
from rich.console import Console
from support import upstream

from pairuni_eval.adapters import load_model
from pairuni_eval.data import Data
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings

MEMORY = Path("/dev/shm")
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


class Schema(NamedTuple):
    """A benchmark of ours, its file below --data, and the same task of lmms-eval."""

    file: str
    task: str
    images: Callable[[int], int]


SCHEMAS = {
    "pope": Schema("pope/data/test-00000-of-00001.parquet", "pope", lambda rows: rows // 6 + 1),
    "mmstar": Schema("mmstar/mmstar.parquet", "mmstar", lambda rows: rows),
    "mme": Schema("mme/data/test-00000-of-00001.parquet", "mme", lambda rows: rows // 2),
    "mmmu": Schema("mmmu/data/validation-00000-of-00001.parquet", "mmmu_val", lambda rows: rows),
}


class Clocks(NamedTuple):
    """Seconds on the wall and of all processors."""

    wall: float
    cpu: float

    def __sub__(self, other: Clocks) -> Clocks:
        return Clocks(self.wall - other.wall, self.cpu - other.cpu)


def now() -> Clocks:
    """The time."""
    return Clocks(time.perf_counter(), time.process_time())


class Timing(NamedTuple):
    """Time of one evaluation: in all, and in decoding."""

    total: Clocks
    decoding: Clocks

    @property
    def rest(self) -> Clocks:
        """Time beyond decoding."""
        return self.total - self.decoding


@contextmanager
def decoding() -> Iterator[Callable[[], Clocks]]:
    """Count the time inside Pillow and inside our reader of parquet; nested calls once."""
    spent, depth, began = Clocks(0, 0), 0, now()

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal spent, depth, began
            if depth == 0:
                began = now()
            depth += 1
            try:
                return work(*arguments, **options)
            finally:
                depth -= 1
                if depth == 0:  # also of other threads: time when nothing is decoded counts
                    took = now() - began
                    spent = Clocks(spent.wall + took.wall, spent.cpu + took.cpu)

        return call

    def read(data: Data, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        rows = before[-1](data, columns)
        while (row := timed(next)(rows, None)) is not None:
            yield row

    places: list[tuple[Any, str]] = [
        (Image, "open"),
        (ImageFile.ImageFile, "load"),
        (Image.Image, "convert"),
        (Data, "parquet_rows"),
    ]
    before = [getattr(place, name) for place, name in places]
    for (place, name), work in zip(places, before, strict=True):
        setattr(place, name, read if place is Data else timed(work))
    try:
        yield lambda: spent
    finally:
        for (place, name), work in zip(places, before, strict=True):
            setattr(place, name, work)


def ours(name: str, folder: Path, script: Path, out: Path) -> Timing:
    """A whole run of one benchmark."""
    model = load_model(f"scripted:{script}", None, LoadOptions())
    settings = RunSettings(
        checkpoint=f"scripted:{script}", out=out, benchmarks=(name,), data=folder
    )
    with decoding() as spent:
        start = now()
        measure(settings, Console(quiet=True), model)
        return Timing(now() - start, spent())


def theirs(task: str, file: Path, script: Path) -> Timing:
    """lmms-eval's evaluation of the same file with the same model."""
    from lmms_eval import utils
    from lmms_eval.api.task import ConfigurableTask
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    from pairuni_eval.lmms.names import find_task

    settings = utils.load_yaml_config(str(find_task(task).path), mode="full")
    settings.pop("dataset_name", None)
    files = {settings["test_split"]: str(file)}
    settings |= {"dataset_path": "parquet", "dataset_kwargs": {"data_files": files}}
    manager = TaskManager(include_defaults=False)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), decoding() as spent:
        loaded = ConfigurableTask(config=settings, model_name="pairuni")
        start, read = now(), spent()
        simple_evaluate(
            model="pairuni",
            model_args=f"checkpoint=scripted:{script}",
            tasks=[loaded],
            task_manager=manager,
            batch_size=16,
            bootstrap_iters=0,
            log_samples=False,
        )
        return Timing(now() - start, spent() - read)


def photographs() -> dict[str, bytes]:
    """Real photographs that scikit-image ships."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.submodule_search_locations, "needs scikit-image"
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return {name: (folder / name).read_bytes() for name in PHOTOGRAPHS}


def prepare(folder: Path, names: list[str], rows: int) -> Path:
    """Write the files and the script; returns the script."""
    views = upstream.pictures(photographs(), rows)
    for name in names:
        schema = SCHEMAS[name]
        made = list(upstream.ROWS[name](views[: schema.images(rows)], rows))
        upstream.write(folder / schema.file, name, made)
    script = folder / "script.jsonl"
    script.write_text(json.dumps({"prompt": "*", "text": "A"}) + "\n", encoding="utf-8")
    return script


def creation(folder: Path, count: int = 1000) -> float:
    """Milliseconds to create an empty file."""
    folder.mkdir()
    start = time.perf_counter()
    for i in range(count):
        (folder / str(i)).touch()
    return 1000 * (time.perf_counter() - start) / count


def report(who: str, timing: Timing, rows: int) -> float:
    """Print one line; returns milliseconds of processors a row beyond decoding."""
    per_row, cpu = (1000 * seconds / rows for seconds in timing.rest)
    print(
        f"  {who:18} {timing.total.wall:6.2f} s in all, {timing.decoding.wall:6.2f} s decoding: "
        f"{per_row:7.3f} ms a row, {cpu:7.3f} ms of processors"
    )
    return cpu


def best(rounds: int, evaluate: Callable[[], Timing]) -> Timing:
    """The round that spent least beyond decoding."""
    return min((evaluate() for _ in range(rounds)), key=lambda one: one.rest.cpu)


def compare(name: str, memory: Path, disk: Path, script: Path, given: argparse.Namespace) -> float:
    """Print the lines of one benchmark; returns our milliseconds of processors a row."""
    schema = SCHEMAS[name]

    def fresh(base: Path) -> Path:
        return Path(tempfile.mkdtemp(dir=base)) / name

    print(f"{name}, {given.rows} rows")
    timing = best(given.rounds, lambda: ours(name, memory, script, fresh(memory)))
    spent = report("pairuni", timing, given.rows)
    report("pairuni, on disk", ours(name, memory, script, fresh(disk)), given.rows)
    if importlib.util.find_spec("lmms_eval") is not None:
        file = memory / schema.file
        timing = best(given.rounds, lambda: theirs(schema.task, file, script))
        report("lmms-eval", timing, given.rows)
    return spent


def main() -> None:
    """Print milliseconds a row; exit 1 if one of ours is not below the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--benchmarks", default=",".join(SCHEMAS))
    parser.add_argument("--bound", type=float, default=0.5, help="milliseconds a row")
    given = parser.parse_args()
    names = given.benchmarks.split(",")
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as base, tempfile.TemporaryDirectory() as other:
        memory, disk = Path(base), Path(other)
        script = prepare(memory, names, given.rows)
        for folder in (memory, disk):
            print(f"creating a file in {folder}: {creation(folder / 'empty'):.3f} ms")
        slow = [name for name in names if compare(name, memory, disk, script, given) >= given.bound]
    if importlib.util.find_spec("lmms_eval") is None:
        print("lmms-eval is not installed: nox -s lmms shows it beside")
    if slow:
        sys.exit(f"not below {given.bound:g} ms a row: {', '.join(slow)}")


if __name__ == "__main__":
    main()
