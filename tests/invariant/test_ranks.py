"""The number of ranks moves no byte: of a run, of its report, of one that was killed on the way.

Folders are compared file by file, as in `test_resume.py`; locks and times alone may differ.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.fork_server import Child, Forked
from support.training_fork_server import free_port, world

from pairuni_eval.store import layout
from pairuni_eval.store.rank_rows import rank_file

from .test_resume import contents

WANTED = ("--benchmarks", "tiny-pope,tiny-geneval,tiny-wise", "--limit", 4, "--batch-size", 2)


class Runs:
    """Starts one command in folders, on ranks or as shards.

    Args:
        forked: The starter of processes.
        checkpoint: What is measured.
    """

    def __init__(self, forked: Forked, checkpoint: Path) -> None:
        self.forked = forked
        self._checkpoint = checkpoint

    def command(self, base: Path) -> list[object]:
        places = ("--out", base / "run", "--report", base / "report")
        return ["run", "--checkpoint", self._checkpoint, *WANTED, *places]

    def start(
        self,
        base: Path,
        ranks: int,
        *more: object,
        die: Mapping[int, Mapping[str, Any]] = {},
    ) -> list[Child]:
        """Start a process for each rank, with words in `log-RANK`; those in `die` are killed."""
        base.mkdir(exist_ok=True)
        worlds = world(ranks) if ranks > 1 else [{}]
        return [
            self.forked.start(
                *self.command(base),
                *more,
                log=base / f"log-{rank}",
                die=die.get(rank),
                environment=environment,
            )
            for rank, environment in enumerate(worlds)
        ]

    def run(self, base: Path, ranks: int, *more: object) -> list[int]:
        """Start them and wait for their ends."""
        return [child.wait() for child in self.start(base, ranks, *more)]

    def finish(self, base: Path, ranks: int = 1) -> None:
        """Run what is left, and see that all ends well."""
        codes = self.run(base, ranks)
        assert codes == [0] * ranks, said(base, ranks)


def said(base: Path, ranks: int) -> list[str]:
    """The words of each rank."""
    return [(base / f"log-{rank}").read_text() for rank in range(ranks)]


@pytest.fixture(scope="module")
def runs(forked: Forked, untrained: Path) -> Runs:
    return Runs(forked, untrained)


@pytest.fixture(scope="module")
def whole(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a run of one process."""
    base = tmp_path_factory.mktemp("one")
    runs.finish(base)
    return contents(base)


@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_a_run_of_several_ranks_is_that_of_one(
    runs: Runs, tmp_path: Path, whole: dict[str, str], ranks: int
) -> None:
    runs.finish(tmp_path, ranks)
    assert contents(tmp_path) == whole
    first, *others = said(tmp_path, ranks)
    assert "Report:" in first
    assert not any(others), "only the first rank speaks"
    runs.finish(tmp_path, 2)  # of a complete run as well
    first, second = said(tmp_path, 2)
    assert "Report:" in first
    assert second == ""
    assert contents(tmp_path) == whole


def test_every_rank_makes_a_part(runs: Runs, tmp_path: Path, whole: dict[str, str]) -> None:
    """Rank 0 is killed as it compacts: rows of every rank lie there, each output once."""
    die = {0: {"file": ".outputs.parquet", "nth": 1}}
    codes = [child.wait() for child in runs.start(tmp_path, 3, die=die)]
    assert codes == [-signal.SIGKILL, 0, 0]
    outputs, scores = (
        [lines(rank_file(tmp_path / "run", name, rank)) for rank in range(3)]
        for name in ("outputs", "scores")
    )
    assert sum(map(len, outputs)) == 24
    assert max(map(len, outputs)) - min(map(len, outputs)) <= 2  # one batch
    assert all(scores)
    judged = [[b'"tiny-wise@official"' in row for row in rows] for rows in scores]
    assert any(judged[0]), "the first rank asks judges"
    assert not any(map(any, judged[1:])), "and it alone"
    runs.finish(tmp_path)
    assert contents(tmp_path) == whole


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def test_shards_and_the_command_without_are_that_of_one(
    runs: Runs, tmp_path: Path, whole: dict[str, str]
) -> None:
    started = [
        runs.forked.start(
            *runs.command(tmp_path), "--shard", f"{number}/2", log=tmp_path / f"log-{number}"
        )
        for number in (1, 2)
    ]
    assert [child.wait() for child in started] == [0, 0], said_by(tmp_path)
    for number in (1, 2):
        words = (tmp_path / f"log-{number}").read_text()
        assert f"Shard {number}/2: its outputs are made." in words
        assert "Next:   pairuni-eval run" in words
        assert "Left:   " in words
        assert "--shard" not in words.partition("Next:")[2]
    assert not (tmp_path / "run" / layout.COMPLETE).exists()
    made = [lines(rank_file(tmp_path / "run", "outputs", rank)) for rank in (0, 1)]
    assert [len(rows) for rows in made] == [12, 12]
    runs.finish(tmp_path)
    assert contents(tmp_path) == whole


def said_by(base: Path) -> list[str]:
    return [path.read_text() for path in sorted(base.glob("log-*"))]


KILLS: list[Mapping[str, Any]] = [
    # The ranks of the first start, whom it kills when, and how many ranks continue.
    {"ranks": 2, "rank": 0, "die": {"file": "rows/scores", "nth": 1, "torn": True}, "then": 3},
    {"ranks": 3, "rank": 1, "die": {"file": "rows/outputs", "nth": 1, "torn": True}, "then": 2},
    {"ranks": 2, "rank": 1, "die": {"file": "/images/", "nth": 2}, "then": 1},
]


# By default the first rank dies; that the end of another is told is shown below as well.
@pytest.mark.parametrize(
    "trial", [KILLS[0], *(pytest.param(kill, marks=pytest.mark.slow) for kill in KILLS[1:])]
)
def test_a_rank_that_dies_is_named_and_another_number_continues(
    runs: Runs, tmp_path: Path, whole: dict[str, str], trial: Mapping[str, Any]
) -> None:
    ranks, dead = trial["ranks"], trial["rank"]
    codes = [c.wait() for c in runs.start(tmp_path, ranks, die={dead: trial["die"]})]
    assert codes[dead] == -signal.SIGKILL, "it never came to this moment"
    assert all(codes), "a run that lost a rank does not end well"
    told = said(tmp_path, ranks)[1 if dead == 0 else 0]
    assert f"Error: rank {dead} of {ranks} has ended before its part was done." in told
    assert "the same command continues, with any number of ranks" in " ".join(told.split())
    runs.finish(tmp_path, trial["then"])
    assert contents(tmp_path) == whole


@pytest.mark.slow
def test_kills_of_all_ranks_at_random_moments_change_nothing(
    runs: Runs, tmp_path: Path, whole: dict[str, str]
) -> None:
    rng = random.Random(3)
    for ranks in (2, 3):
        children = runs.start(tmp_path, ranks)
        deadline = time.monotonic() + 600
        while not (tmp_path / "run" / layout.RUN_FILE).exists():
            assert time.monotonic() < deadline, said(tmp_path, ranks)
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 1))
        kill(children)
        for child in children:
            child.wait()
    runs.finish(tmp_path, 2)
    assert contents(tmp_path) == whole


def kill(children: Sequence[Child]) -> None:
    for child in children:
        os.killpg(child.pid, signal.SIGKILL)


def test_a_rank_with_another_command_is_named(runs: Runs, tmp_path: Path) -> None:
    environments = world(2)
    children = [
        runs.forked.start(
            *runs.command(tmp_path),
            *("--seed", seed),
            log=tmp_path / f"log-{seed}",
            environment=environment,
        )
        for seed, environment in enumerate(environments)
    ]
    assert [child.wait() for child in children] == [2, 2]
    first, second = said(tmp_path, 2)
    assert "Error: rank 1 of 2: " in second
    told = " ".join(second.split())
    assert "holds another run: its seed is 0, now it is 1" in told
    assert "all ranks have the same command and see the same folder" in told
    assert "delete" not in told
    assert "rank 1 of 2 has ended" in first


def test_a_rank_that_does_not_see_the_folder_is_told_so(runs: Runs, tmp_path: Path) -> None:
    children = [
        runs.forked.start(
            *runs.command(tmp_path),
            *("--out", str(tmp_path / f"run-{rank}")),
            log=tmp_path / f"log-{rank}",
            environment=environment,
        )
        for rank, environment in enumerate(world(2))
    ]
    assert [child.wait() for child in children] == [2, 2]
    first, second = said(tmp_path, 2)
    told = " ".join(second.split())
    assert "Error: rank 1 of 2: " in told
    assert "has no run.json" in told
    assert "all ranks have the same command and see the same folder" in told
    assert "rank 1 of 2 has ended" in first


def test_a_shard_under_a_launcher_is_refused(runs: Runs, tmp_path: Path) -> None:
    assert runs.run(tmp_path, 2, "--shard", "1/2") == [2, 0]
    first, second = said(tmp_path, 2)
    assert "Leave --shard out" in first
    assert second == ""
    assert not (tmp_path / "run").exists()


ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
PYTHON = sys.executable  # as it is, torchrun being no module that the server has imported


def launch(launcher: str, hosts: Path) -> list[str]:
    """The words of a launcher before `-m pairuni_eval` of two ranks on this machine."""
    port = free_port()
    if launcher == "torchrun":
        where = ["--master_addr=127.0.0.1", f"--master_port={port}"]
        two = ["--nproc_per_node=2", "--no_python"]
        return [PYTHON, "-m", "torch.distributed.run", *two, *where, sys.executable]
    if launcher == "mpirun":
        return ["mpirun", "--oversubscribe", "-n", "2", "-x", f"MASTER_PORT={port}", sys.executable]
    hosts.write_text("localhost slots=2\n")
    two = ["--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    where = ["--cpu", f"--mpirun_hostfile={hosts}", f"--main_process_port={port}"]
    return [sys.executable, "-m", "accelerate.commands.launch", *two, *where]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_python")
@pytest.mark.parametrize("launcher", ["torchrun", "mpirun", "accelerate"])
def test_launchers_start_ranks(
    runs: Runs, tmp_path: Path, whole: dict[str, str], launcher: str
) -> None:
    if launcher != "torchrun" and shutil.which("mpirun") is None:
        pytest.skip("mpirun is not installed")
    words = launch(launcher, tmp_path / "hosts")
    words += ["-m", "pairuni_eval", *map(str, runs.command(tmp_path))]
    run = subprocess.run(
        words, env=os.environ | ROOT_MAY, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "Report:" in run.stdout + run.stderr
    assert "This is one process" not in run.stderr
    assert contents(tmp_path) == whole
