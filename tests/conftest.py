"""What several test modules share: the command line, small checkpoints, photographs, parquet files.

PAIRUNI_SHARED names the folder of recorded scores and data (default: `shared` beside the
repository). PAIRUNI_TINY names a tiny checkpoint to test instead of the shipped weights.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support import ROOT
from support.command_line import Cli, command_line
from support.fork_server import Forked, held_server, write_python
from support.upstream import write_parquet

# Read by the hub client at import: no test may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# Read by torch at import, here and in the processes that tests start: several workers share the
# processor, and networks this small gain nothing from a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where Python is told to keep no bytecode, every worker and every process that a test starts would
# compile all modules anew: a minute of processor time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# How fast inputs come is the machine's business, which may be doing other things.
settings.register_profile("shared machine", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
gc.disable()  # until all tests are collected: what imports make stays
SEARCHES = (20_000, 20, 20)  # as in `gc.set_threshold`: by default a thirtieth of a test's time
MOST_WORKERS = 4  # of `-n auto`, which is the default: each worker holds torch

HERE = Path(__file__).parent
FOLDERS = frozenset(
    {"browser", "hostile", "integration", "invariant", "lmms", "parity", "simulation"}
)  # each is a marker of what lies below it
TORCH = importlib.util.find_spec("torch") is not None
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def pytest_configure() -> None:
    # A shell has its background jobs ignore interruptions, and whatever they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than processors, up to `MOST_WORKERS`; none where one file is asked for.

    A worker waits for servers, timers and other processes in a third of its time.
    """
    if len(config.args) == 1 and ".py" in config.args[0]:
        return 0
    mine = hasattr(os, "sched_getaffinity")
    processors = len(os.sched_getaffinity(0)) if mine else os.cpu_count() or 1
    return min(processors + 1, MOST_WORKERS)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", default=None, help="folder with recorded official scores")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without torch, leave out what is not marked `light`: it cannot be imported."""
    if TORCH or collection_path.suffix not in {"", ".py"}:
        return None
    below = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    light = any("pytest.mark.light" in path.read_text(encoding="utf-8") for path in below)
    return None if light else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their folders, and skip what is slow, unless it is asked for by `-m slow`."""
    asked = "slow" in config.getoption("-m")
    for item in items:
        for folder in FOLDERS.intersection(item.path.relative_to(HERE).parts[:-1]):
            item.add_marker(folder)
        if item.get_closest_marker("slow") and not asked:
            item.add_marker(pytest.mark.skip(reason="slow: ask for it by -m slow"))


def pytest_collection_finish() -> None:
    """What is there now stays: no search for garbage has to go through it, and few are made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SEARCHES)
    gc.enable()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """`pairuni-eval ARGUMENTS` in this process, in a folder of its own.

    What the command line does not catch, the test sees as an exception.
    """
    from pairuni_eval.cli import main

    monkeypatch.chdir(tmp_path)
    return command_line("pairuni-eval", main, monkeypatch, capfd)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded scores and data; tests that need it are skipped without."""
    given = os.environ.get("PAIRUNI_SHARED")
    folder = Path(given) if given else ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set PAIRUNI_SHARED")
    return folder


@pytest.fixture(scope="session")
def tiny_weights() -> Path:
    """The folder of the shipped tiny weights, or the one that PAIRUNI_TINY names."""
    from pairuni_eval.tiny.janus import shipped

    folder = Path(os.environ.get("PAIRUNI_TINY") or shipped())
    if not (folder / "config.json").is_file():
        pytest.skip(f"no tiny weights in {folder}; set PAIRUNI_TINY")
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of the smallest tiny Janus, never trained."""
    from pairuni_eval.tiny import janus

    size = janus.TinySize(
        hidden=32,
        layers=1,
        heads=2,
        feed_forward=32,
        vision_hidden=32,
        vision_layers=1,
        vision_heads=2,
        vq_channels=32,
    )
    folder = tmp_path_factory.mktemp("checkpoints") / "untrained"
    janus.save(janus.build(0, size), folder, recipe="none", step=0)
    return folder


@pytest.fixture(scope="session")
def photographs() -> dict[str, bytes]:
    """Real photographs that scikit-image ships, by file name, as encoded."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-image, which ships the photographs, is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return {name: (folder / name).read_bytes() for name in PHOTOGRAPHS}


@pytest.fixture
def write_pope() -> Callable[[Path, Sequence[Mapping[str, Any]]], Path]:
    """Write rows in the columns of the published POPE files to FOLDER/pope/data/."""
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    words = ("id", "question_id", "question", "answer", "image_source")
    schema = pa.schema(
        [*((name, pa.string()) for name in words), ("image", picture), ("category", pa.string())]
    )

    def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
        path = folder / "pope" / "data" / "test-00000-of-00001.parquet"
        return write_parquet(path, rows, schema)

    return write


@pytest.fixture
def write_mmstar() -> Callable[[Path, Sequence[Mapping[str, Any]]], Path]:
    """Write rows in the columns of the published MMStar file to FOLDER/mmstar/."""
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    origin = pa.struct([(n, pa.string()) for n in ("source", "split", "image_path")])
    schema = pa.schema(
        [
            ("index", pa.int64()),
            ("question", pa.string()),
            ("image", picture),
            ("answer", pa.string()),
            ("category", pa.string()),
            ("l2_category", pa.string()),
            ("meta_info", origin),
        ]
    )

    def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
        return write_parquet(folder / "mmstar" / "mmstar.parquet", rows, schema)

    return write


@pytest.fixture
def write_script(tmp_path: Path) -> Callable[[Mapping[str, str]], str]:
    """Write a script of prompts and answers; returns what --checkpoint takes."""

    def write(answers: Mapping[str, str]) -> str:
        path = tmp_path / "script.jsonl"
        lines = (json.dumps({"prompt": prompt, "text": text}) for prompt, text in answers.items())
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"scripted:{path}"

    return write


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server that forks commands, one for all workers of a run."""
    own = tmp_path_factory.getbasetemp()
    with held_server(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) as address:
        yield address


@pytest.fixture(scope="session")
def forked(fork_server: str) -> Forked:
    """A starter of real processes."""
    return Forked(fork_server)


@pytest.fixture
def forked_python(fork_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the product starts as `sys.executable -m MODULE` is forked from the server."""
    python = write_python(tmp_path / "python", fork_server)
    monkeypatch.setattr(sys, "executable", str(python))
