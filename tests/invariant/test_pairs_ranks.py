"""The number of ranks moves no pair: of a search, of one that was killed on the way, of a build."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.fork_server import Child
from support.pair_sources import FloatArray, photograph_features, small
from support.training_fork_server import world

from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.feature_files import StackedFeatures, write_stacked
from pairuni_train.pair_data.ivf import write_ivf
from pairuni_train.pair_data.search_job import SearchJob

from .test_pairs_resume import contents

FOLDER = "pairs.parts"
ABOUT = {
    "pairuni": '{"encoder":{"name":"","weights":"","preprocessing":"","checkpoint":""},"broken":[]}'
}
USED = tuple(range(0, 500, 9))


def start(
    server: str,
    module: str,
    words: Sequence[object],
    folder: Path,
    ranks: int,
    die: Mapping[int, Mapping[str, Any]] = {},
) -> list[Child]:
    """Start a command on each rank; what they print goes to FOLDER/log-RANK."""
    children = []
    for rank, environment in enumerate(world(ranks) if ranks > 1 else [{}]):
        with (folder / f"log-{rank}").open("wb") as file, Path(os.devnull).open("rb") as none:
            streams, whole = (none, file, file), {**os.environ, **environment}
            children.append(Child(server, module, words, streams, whole, die.get(rank)))
    return children


def search(server: str, stages: Path, ranks: int) -> list[tuple[int, int, float]]:
    """The pairs of a search on so many ranks."""
    codes = [one.wait() for one in start(server, "support.search_ranks", [stages], stages, ranks)]
    assert codes == [0] * ranks, said(stages, ranks)
    return msgspec.json.decode(
        (stages / "pairs.json").read_bytes(), type=list[tuple[int, int, float]]
    )


def said(folder: Path, ranks: int) -> list[str]:
    """The words of each rank."""
    return [(folder / f"log-{rank}").read_text() for rank in range(ranks)]


@pytest.fixture(scope="module")
def sides(photographs: dict[str, bytes]) -> tuple[FloatArray, FloatArray]:
    data = list(photographs.values())
    return photograph_features(data, 500, seed=1), photograph_features(data, 450, seed=2)


@pytest.fixture(scope="module", params=["exact", "ivf"])
def stages(
    request: pytest.FixtureRequest,
    sides: tuple[FloatArray, FloatArray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with features of both sides, an index, and the job."""
    folder = tmp_path_factory.mktemp(request.param)
    for name, matrix in zip(("u", "g"), sides, strict=True):
        path = folder / f"{name}.safetensors"
        write_stacked(path, StackedFeatures([matrix]), np.arange(len(matrix)), ABOUT)
    job = SearchJob(
        understanding="u.safetensors",
        generation="g.safetensors",
        used_u=USED,
        used_g=(0, 7),
        neighbors=1,
        folder=FOLDER,
    )
    if request.param == "ivf":
        write_ivf(sides[0], folder / "u.faiss", nlist=10, seed=0)
        job = msgspec.structs.replace(job, ivf="u.faiss", nprobe=2)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    return folder


@pytest.fixture(scope="module")
def alone(fork_server: str, stages: Path) -> list[tuple[int, int, float]]:
    """The pairs of one process."""
    found = search(fork_server, stages, 1)
    shutil.rmtree(stages / FOLDER)
    assert len(found) > 100
    assert not {u for u, _, _ in found} & set(USED)
    assert not {g for _, g, _ in found} & {0, 7}
    return found


def copied(stages: Path, folder: Path) -> Path:
    shutil.copytree(stages, folder / "stages")
    return folder / "stages"


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_find_the_pairs_of_one(
    fork_server: str,
    stages: Path,
    alone: list[tuple[int, int, float]],
    tmp_path: Path,
    ranks: int,
) -> None:
    here = copied(stages, tmp_path)
    assert search(fork_server, here, ranks) == alone
    assert said(here, ranks) == [""] * ranks
    waves = {path.name for path in (here / FOLDER).iterdir()}
    assert waves == {f"wave-{number:06d}.json" for number in range(5)}  # 448 asked, 90 a wave


@pytest.mark.parametrize("dying", [0, 1])
def test_a_search_that_lost_a_rank_goes_on_with_another_number(
    fork_server: str,
    stages: Path,
    alone: list[tuple[int, int, float]],
    tmp_path: Path,
    dying: int,
) -> None:
    """It dies as it writes a part of its own."""
    here = copied(stages, tmp_path)
    die = {dying: {"file": ".part-", "nth": random.Random(dying).randint(2, 5)}}
    children = start(fork_server, "support.search_ranks", [here], here, 3, die)
    codes = [one.wait() for one in children]
    assert codes[dying] == -signal.SIGKILL
    assert all(code != 0 for code in codes)
    first = min({0, 1, 2} - {dying})
    assert f"rank {dying} of 3 has ended before its part was done" in said(here, 3)[first]
    assert list((here / FOLDER).glob("part-*")) or list((here / FOLDER).glob("wave-*"))
    assert search(fork_server, here, 2) == alone


def test_every_rank_writes_parts_of_its_own(
    fork_server: str, stages: Path, alone: list[tuple[int, int, float]], tmp_path: Path
) -> None:
    """The first rank is killed as it joins the first wave: the parts of all three lie there."""
    here = copied(stages, tmp_path)
    die = {0: {"file": ".wave-", "nth": 1}}
    children = start(fork_server, "support.search_ranks", [here], here, 3, die)
    codes = [one.wait() for one in children]
    assert codes[0] == -signal.SIGKILL
    parts = sorted(path.name for path in (here / FOLDER).glob("part-*"))
    assert parts == [f"part-{start:09d}.safetensors" for start in (0, 20, 40, 60, 80)]
    assert search(fork_server, here, 1) == alone


def test_a_build_of_two_ranks_is_that_of_one(fork_server: str, tmp_path: Path) -> None:
    rows = [{"kind": "tiny", "rows": 40}]
    read = small(
        tmp_path,
        arms=["pairug", "retrieved"],
        understanding=rows,
        generation=rows,
        encoder={"name": "colors"},
    )
    build(read, tmp_path / "one")
    words = ("pairs", "build", "--config", read.path, "--out", tmp_path / "two")
    codes = [one.wait() for one in start(fork_server, "pairuni_train.cli", words, tmp_path, 2)]
    first, second = said(tmp_path, 2)
    assert codes == [0, 0], first + second
    assert "Next: pairuni-train pairs check" in first
    assert second == ""
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_what_stops_the_first_rank_stops_the_other(fork_server: str, tmp_path: Path) -> None:
    rows = [{"kind": "tiny", "rows": 4}]
    read = small(
        tmp_path,
        arms=["retrieved"],
        understanding=rows,
        generation=rows,
        retrieval={"threshold": 1.0},
    )
    words = ("pairs", "build", "--config", read.path, "--out", tmp_path / "out")
    codes = [one.wait() for one in start(fork_server, "pairuni_train.cli", words, tmp_path, 2)]
    first, second = said(tmp_path, 2)
    assert codes == [2, 0], first + second
    assert "retrieval.threshold 1 leaves no pair" in first
    assert second == ""
