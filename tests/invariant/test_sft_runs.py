"""Whole fine-tunings: killed and continued, and on two ranks."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import small_training as small
from support.run_files import contents, kill_after
from support.training_fork_server import Starter

from pairuni_eval.tiny import bagel
from pairuni_train.pair_data.dataset import write_pairs

STEPS = 7


@pytest.fixture(scope="module")
def starter(fork_server: str) -> Starter:
    return Starter(fork_server)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_pairs(folder / "pairs.parquet", small.tiny_pairs(8))
    bagel.save(bagel.build(0, small.BAGEL), folder / "bagel", recipe="none", step=0)
    return folder


def command(base: Path, out: Path) -> list[object]:
    settings = {
        **{"checkpoint": base / "bagel", "pairs_per_step": 4, "checkpoint_every": 3},
        **{"probe.every": 2, "warmup": 2, "lr": 1e-3, "pack_tokens": 160},
        "eps": 1e-5,  # with the official 1e-15 a gradient of rounding errors is a whole step
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    asked = ["sft", "--recipe", "tiny-bagel", "--pairs", base / "pairs.parquet", "--out", out]
    return [*asked, "--steps", STEPS, *sets]


@pytest.fixture(scope="module")
def straight(starter: Starter, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "out"
    assert starter.run(command(base, out)) == 0
    return out


def test_a_fine_tuning_that_was_killed_twice_ends_as_one_that_was_not(
    starter: Starter, base: Path, straight: Path, tmp_path: Path
) -> None:
    killed, rng = tmp_path / "killed", random.Random()
    for steps in (rng.randint(1, 2), rng.randint(4, 6)):  # before and behind the first checkpoint
        process = starter.start(command(base, killed))
        kill_after(process.pid, killed, steps)
        assert process.wait() == -signal.SIGKILL
    assert not (killed / f"checkpoint-{STEPS}").exists()
    assert starter.run(command(base, killed)) == 0
    assert contents(killed) == contents(straight)
    moved = [json.loads(line)["loss/gen"] for line in (straight / "metrics.jsonl").open()]
    assert len(set(moved)) == STEPS


@pytest.mark.slow
def test_two_ranks_teach_as_one(
    starter: Starter, base: Path, straight: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    assert starter.run_on_ranks(command(base, out), 2) == [0, 0]
    ours, theirs = ((one / "metrics.jsonl").read_text().splitlines() for one in (out, straight))
    for line, wanted in zip(ours, theirs, strict=True):
        assert json.loads(line) == pytest.approx(json.loads(wanted), rel=1e-3)
    last = f"checkpoint-{STEPS}/ema.safetensors"
    one, two = load_file(straight / last), load_file(out / last)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=2e-5)
