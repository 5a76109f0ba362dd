"""Whole runs of the shipped tiny model: killed and continued, and on two ranks."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import small_training as small
from support.run_files import contents, kill_after, lines
from support.training_fork_server import Starter, free_port

from pairuni_eval.store.training import read_fixed
from pairuni_train.distributed.engine import start_process
from pairuni_train.pair_data.dataset import write_pairs

STEPS = 4


@pytest.fixture(scope="module")
def starter(fork_server: str) -> Starter:
    return Starter(fork_server)


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    pairs = small.tiny_pairs(8)
    write_pairs(folder / "pairug.parquet", pairs)
    write_pairs(folder / "unpaired.parquet", small.unpaired(pairs))
    write_pairs(folder / "fixed.parquet", small.unpaired(small.tiny_pairs(4, seed=9)))
    return folder


def command(pairs: Path, out: Path, *, steps: int = STEPS, **changes: object) -> list[object]:
    settings = {
        **small.SMALL,
        "pairs_per_step": 2,
        "gen.decoding.cfg_scale": 1.0,
        "gen.rewards": '[{ name = "scorer:tiny-geneval" }, { name = "tiny-objects" }]',
        "checkpoint_every": 2,
        "probe.every": 2,
        "rollouts_every": 2,
        "lr": 1e-4,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["run", "--pairs", pairs, "--out", out, "--steps", steps, *sets]


def fixed(pairs: Path) -> list[object]:
    """Options that measure fixed prompts before step 0, every 2 steps and at the end."""
    return ["--fixed-prompts", pairs / "fixed.parquet", "--fixed-every", 2, "--fixed-draws", 2]


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").open()]


# Killed and continued


LEARNS = 5e-3  # a learning rate at which rewards change within these steps


@pytest.fixture(scope="module")
def straight(starter: Starter, pair_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped, with what it earns on fixed prompts."""
    out = tmp_path_factory.mktemp("straight") / "out"
    assert starter.run([*command(pair_folder, out, lr=LEARNS), *fixed(pair_folder)]) == 0
    return out


def test_a_run_that_was_killed_twice_ends_as_one_that_was_not(
    starter: Starter, pair_folder: Path, straight: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    asked = [*command(pair_folder, killed, lr=LEARNS), *fixed(pair_folder)]
    for steps in (1, 3):  # before and behind the first checkpoint
        process = starter.start(asked)
        kill_after(process.pid, killed, steps)
        assert process.wait() == -signal.SIGKILL
    assert (killed / "checkpoint-2").is_dir()
    assert not (killed / f"checkpoint-{STEPS}").exists()
    with (killed / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "loss": 0.')  # torn, as by a full disk
    assert starter.run(asked) == 0
    assert contents(killed) == contents(straight)
    moved = {one["grad_norm"] for one in metrics(straight)}
    assert len(moved) > 2, "the case needs a run that learns"
    assert lines(straight / "gradients.jsonl") >= 2 * 7


def test_fixed_prompts_are_measured_without_a_trace_in_the_training(
    starter: Starter, pair_folder: Path, straight: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    asked = command(pair_folder, plain, lr=LEARNS)
    assert starter.run(asked) == 0
    beside = contents(straight)
    del beside["fixed.jsonl"]
    assert beside == contents(plain), "weights, optimizer, metrics and gradients, bit by bit"
    rows = read_fixed(straight)
    assert [(row.step, row.task) for row in rows] == [
        (step, task) for step in (0, 2, 4) for task in ("und", "gen")
    ]
    assert all(len(row.values) == 4 and row.draws == 2 and row.declined == 0 for row in rows)
    assert len({row.values for row in rows}) > 2, "the case needs rewards that change"
    # A finished run is measured at the weights that are still there.
    shutil.rmtree(plain / "checkpoint-2")
    assert starter.run([*asked, *fixed(pair_folder)]) == 0
    late = read_fixed(plain)
    assert {row.step for row in late} == {0, STEPS}
    assert late == [row for row in rows if row.step in {0, STEPS}]


def test_fixed_prompts_earn_the_same_before_any_update(
    starter: Starter, pair_folder: Path, straight: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grpo"
    words = [*command(pair_folder, out, steps=1), *fixed(pair_folder)]
    assert starter.run([*words, "--arm", "grpo", "--seed", 1]) == 0
    first = [row for row in read_fixed(out) if row.step == 0]
    assert len(first) == 2
    assert first == [row for row in read_fixed(straight) if row.step == 0]


# Ranks


def same_run(one: Path, two: Path, steps: int) -> None:
    """Metrics and weights of two runs that differ in rounding alone.

    The norm of a task's gradient is told by a process alone in every step, by several ranks in
    those alone in which a hook holds the tasks apart.
    """
    for a, b in zip(metrics(one), metrics(two), strict=True):
        for name in ("grad_norm/und", "grad_norm/gen"):
            if name not in b:
                del a[name]
        assert a.keys() == b.keys()
        for key in a:
            assert b[key] == pytest.approx(a[key], rel=2e-3, abs=1e-5), f"step {a['step']}: {key}"
    weights = [load_file(run / f"checkpoint-{steps}" / "model.safetensors") for run in (one, two)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], rtol=0, atol=2e-4), name
    assert sum(one["grad_norm"] > 0 for one in metrics(one)) >= steps - 1


def same_grams(one: Path, two: Path) -> None:
    """What the probe saw in two runs that differ in rounding alone."""
    grams = [(run / "gradients.jsonl").read_text().splitlines() for run in (one, two)]
    for a, b in zip(*(map(json.loads, rows) for rows in grams), strict=True):
        assert (a["block"], a["rows"], a["und_live"]) == (b["block"], b["rows"], b["und_live"])
        for before, after in ((a["tasks"][i], b["tasks"][i]) for i in (0, 2)):
            assert after == pytest.approx(before, rel=2e-2, abs=1e-6)
        # Products of large numbers that cancel: they round by the size of the factors.
        scale = math.sqrt(a["tasks"][0] * a["tasks"][2])
        assert b["tasks"][1] == pytest.approx(a["tasks"][1], abs=1e-6 + 1e-4 * scale)


@pytest.fixture(scope="module")
def one(starter: Starter, pair_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of one process, with what it earns on fixed prompts."""
    out = tmp_path_factory.mktemp("one")
    assert starter.run([*command(pair_folder, out, steps=3), *fixed(pair_folder)]) == 0
    return out


def test_two_ranks_run_as_one(
    starter: Starter, pair_folder: Path, one: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    words = [*command(pair_folder, two, steps=3), *fixed(pair_folder)]
    assert starter.run_on_ranks(words, 2) == [0, 0]
    same_run(one, two, 3)
    same_grams(one, two)
    for a, b in zip(read_fixed(one), read_fixed(two), strict=True):
        assert (a.step, a.task) == (b.step, b.task) and len(a.values) == len(b.values)
        if a.step == 0:
            assert a == b, "equal weights, whichever rank answers"


# Its ranks are those of `test_two_ranks_run_as_one`, started by a program of others.
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed")
@pytest.mark.usefixtures("forked_python")
def test_accelerate_starts_two_on_the_cpu(pair_folder: Path, one: Path, tmp_path: Path) -> None:
    two, hosts = tmp_path / "two", tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    launch = ["--num_processes=2", "--num_machines=1", "--cpu", f"--mpirun_hostfile={hosts}"]
    launch.append(f"--main_process_port={free_port()}")
    plain = ["--mixed_precision=no", "--dynamo_backend=no", "-m", "pairuni_train.cli"]
    words = [*launch, *plain, *map(str, command(pair_folder, two, steps=3))]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *words],
        env=os.environ | root | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "This is one process" not in run.stderr + run.stdout
    same_run(one, two, 3)
    same_grams(one, two)


def test_one_process_where_several_were_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # as `accelerate launch` leaves both
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.warns(UserWarning, match=r"This is one process.*torchrun"):
        assert start_process().num_processes == 1


@pytest.mark.parametrize(
    "stops",
    [
        pytest.param((3,), id="in one go"),
        # Shards are gathered into a checkpoint and scattered again.
        pytest.param((2, 3), id="in two goes", marks=pytest.mark.slow),
    ],
)
def test_sharded_weights_train_as_whole_ones(
    starter: Starter, pair_folder: Path, one: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    two = tmp_path / "two"
    for steps in stops:
        sharded = command(pair_folder, two, steps=steps, sharding="fsdp2", checkpoint_every=2)
        assert starter.run_on_ranks(sharded, 2) == [0, 0]
    same_run(one, two, 3)
    same_grams(one, two)


def test_a_rank_may_have_no_row_of_a_task(
    starter: Starter, pair_folder: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # Two rows of one half in a step: each rank has one task only.
    arm = ["--arm", "grpo"]
    assert starter.run([*command(pair_folder, one, steps=2, pairs_per_step=1), *arm]) == 0
    ranks = starter.run_on_ranks([*command(pair_folder, two, steps=2, pairs_per_step=1), *arm], 2)
    assert ranks == [0, 0]
    same_run(one, two, 2)


# A masked-diffusion policy: several views of each rollout, and weights without a tied head


@pytest.fixture(scope="module")
def diffused(starter: Starter, pair_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of one process."""
    out = tmp_path_factory.mktemp("diffused")
    assert starter.run(command(pair_folder, out, steps=2, **small.DIFFUSION)) == 0
    return out


def test_two_ranks_run_as_one_by_views(
    starter: Starter, pair_folder: Path, diffused: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    words = command(pair_folder, two, steps=2, **small.DIFFUSION)
    assert starter.run_on_ranks(words, 2) == [0, 0]
    same_run(diffused, two, 2)
    same_grams(diffused, two)


@pytest.mark.slow
def test_sharded_weights_train_as_whole_ones_by_views(
    starter: Starter, pair_folder: Path, diffused: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    sharded = {**small.DIFFUSION, "sharding": "fsdp2", "checkpoint_every": 1}
    for steps in (1, 2):  # shards are gathered into a checkpoint and scattered again
        words = command(pair_folder, two, steps=steps, **sharded)
        assert starter.run_on_ranks(words, 2) == [0, 0]
    same_run(diffused, two, 2)
    same_grams(diffused, two)
