"""Sharded weights on two ranks: the same step as one process makes, kept in parts, read by all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import small_training as small
from support.training_fork_server import Starter
from torch import Tensor

from pairuni_eval.models.base import LoadOptions
from pairuni_eval.models.janus.adapter import JanusModel
from pairuni_train.checkpoints import load_resume_state
from pairuni_train.pair_data.dataset import write_pairs

# All at once: a penalty, layers that run again, a look at the gradients.
ALL_AT_ONCE: Mapping[str, object] = {
    **small.SMALL,
    "pairs_per_step": 2,
    "gen.decoding.cfg_scale": 1.0,
    # Far from what it was taught, for pictures that are worth more and less than one another.
    "gen.decoding.temperature": 2.0,
    "gen.rollouts": 8,
    "gen.rewards": '[{ name = "tiny-objects" }]',
    "und.decoding.temperature": 3.0,  # answers of many lengths
    "und.rewards": '[{ name = "length", options = { free = 0, limit = 8 } }]',
    "beta": 0.1,
    "gradient_checkpointing": "true",
    "probe.every": 1,
    "lr": 1e-4,
}


@pytest.fixture(scope="module")
def starter(fork_server: str) -> Starter:
    return Starter(fork_server)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "pairug.parquet", small.tiny_pairs(8))
    return folder


def command(pairs: Path, out: Path, *, steps: int = 1, **changes: object) -> list[object]:
    settings = {**ALL_AT_ONCE, **changes}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["run", "--pairs", pairs, "--out", out, "--steps", steps, *sets]


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").open()]


def gradient(out: Path) -> Tensor:
    """The gradient of a run's only step, from the running mean that it left."""
    state = load_resume_state(out / "checkpoint-1").optimizer
    means = {name: one for name, one in state.items() if name.endswith("/exp_avg")}
    return torch.cat([means[name].double().flatten() for name in sorted(means)])


def grams(out: Path) -> Tensor:
    rows = [json.loads(line) for line in (out / "gradients.jsonl").open()]
    return torch.tensor([row["tasks"] for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_step_is_that_of_one_process(
    starter: Starter, pairs: Path, tmp_path: Path, precision: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert starter.run(command(pairs, one, precision=precision)) == 0
    sharded = command(pairs, two, precision=precision, sharding="fsdp2")
    assert starter.run_on_ranks(sharded, 2) == [0, 0]
    within = 1e-5 if precision == "no" else 1e-2
    for key, value in metrics(one)[0].items():
        assert metrics(two)[0][key] == pytest.approx(value, rel=within, abs=1e-6), key
    ours, theirs = gradient(two), gradient(one)
    assert float((ours - theirs).norm() / theirs.norm()) < within
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.999
    scale = grams(one)[:, [0, 2]].prod(1).sqrt()[:, None]
    assert float(scale.min()) > 0, "the case needs a gradient of each task in each block"
    assert float(((grams(two) - grams(one)).abs() / scale).max()) < within


def test_a_checkpoint_in_parts_is_read_by_any_number_of_ranks(
    starter: Starter, pairs: Path, tmp_path: Path
) -> None:
    options = {"sharding": "fsdp2", "pairs_per_step": 3, "keep_last": 1}
    begun = tmp_path / "begun"
    assert starter.run_on_ranks(command(pairs, begun, steps=2, **options), 2) == [0, 0]
    kept = sorted(path.name for path in (begun / "checkpoint-2" / "trainer").rglob("*.s*"))
    assert kept == [f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)]
    ends = []
    for ranks in (2, 3):
        out = tmp_path / f"then-{ranks}"
        shutil.copytree(begun, out)
        assert starter.run_on_ranks(command(pairs, out, steps=3, **options), ranks) == [0] * ranks
        assert [path.name for path in out.glob("c*")] == ["checkpoint-3"]
        assert not list(out.glob(".*.tmp"))
        ends.append(load_file(out / "checkpoint-3" / "model.safetensors"))
    for name, tensor in ends[0].items():
        assert torch.allclose(tensor, ends[1][name], rtol=0, atol=2e-4), name
    # As it lies there, with the names that one process would have written.
    policy = JanusModel.load(str(out / "checkpoint-3"), LoadOptions(device="cpu")).policy
    names = {name.removeprefix("janus.") for name, _ in policy.named_parameters()}
    assert names <= ends[1].keys()


def test_rough_weights_beside_those_that_train(
    starter: Starter, pairs: Path, tmp_path: Path
) -> None:
    """Saved in bfloat16, stopped and gone on: the end of a run that saved all of it and went on."""
    ends = {}
    for saved_as, stops in (("float32", (2,)), ("bfloat16", (1, 2))):
        out = tmp_path / saved_as
        for steps in stops:
            options = {"sharding": "fsdp2", "saved_as": saved_as}
            assert starter.run_on_ranks(command(pairs, out, steps=steps, **options), 2) == [0, 0]
        ends[saved_as] = load_file(out / "checkpoint-2" / "model.safetensors")
    for name, rough in ends["bfloat16"].items():
        assert rough.dtype is torch.bfloat16
        assert torch.equal(rough, ends["float32"][name].bfloat16()), name


def test_a_reward_that_fails_on_one_rank_ends_all_with_its_words(
    starter: Starter, pairs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    few = small.tiny_pairs(2)
    broken = [few[0], few[1]]
    half = broken[1].understanding
    assert half is not None
    import msgspec

    torn = msgspec.structs.replace(half, image=b"no picture")
    broken[1] = msgspec.structs.replace(broken[1], understanding=torn)
    write_pairs(tmp_path / "pairug.parquet", broken)
    asked = command(tmp_path, tmp_path / "out")
    codes = starter.run_on_ranks(asked, 2)
    words = " ".join(capfd.readouterr().err.split())
    assert codes == [2, 2], words
    assert words.count("The image of understanding half") == 2
    assert "ends because rank" in words
