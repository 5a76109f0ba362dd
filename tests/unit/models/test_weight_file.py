"""Weights are read without running what is in the file, and damage is named."""

from __future__ import annotations

import argparse
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pairuni_eval.errors import UserError
from pairuni_eval.grading_models import openmmlab
from pairuni_eval.models.pickled import unsafe_name
from pairuni_eval.models.weight_file import read_weights, weight_files

WEIGHTS = {"visual.proj": torch.tensor([[1.5, -2.0]]), "logit_scale": torch.tensor(4.0)}


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as refused:
        read_weights(path)
    assert str(path) in refused.value.message
    return refused.value


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_come_back_as_stored(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    path = tmp_path / f"hps{suffix}"
    stored = {name: value.to(dtype) for name, value in WEIGHTS.items()}
    if suffix == ".pt":
        torch.save(stored, path)
    else:
        save_file(stored, path)

    read = read_weights(path)

    assert read.keys() == stored.keys()
    assert all(read[name].dtype == dtype and read[name].equal(stored[name]) for name in stored)


def test_a_training_checkpoint_and_the_prefix_of_data_parallel_are_unwrapped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "epoch_3.pt"
    state = {f"module.{name}": value for name, value in WEIGHTS.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"lr": 1e-3}}, path)

    assert read_weights(path).keys() == WEIGHTS.keys()


@pytest.mark.parametrize("keep", [0.0, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_cut_file_is_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"hps{suffix}"
    if suffix == ".pt":
        torch.save(WEIGHTS, path)
    else:
        save_file(WEIGHTS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])

    assert refusal(path).hint == "Copy or download it again."


def test_one_turned_bit_in_a_tensor_is_found(tmp_path: Path) -> None:
    path = tmp_path / "hps.pt"
    values = torch.full((1000,), 0.7310586)
    torch.save({"visual.proj": values}, path)
    data = bytearray(path.read_bytes())
    data[data.index(values.numpy().tobytes()) + 1234] ^= 1
    path.write_bytes(bytes(data))

    assert "the checksum of hps/data/0 is wrong" in refusal(path).message


class Opener:
    """Opens a file when unpickled, as a hostile checkpoint would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickled_object_is_refused_and_never_built(tmp_path: Path) -> None:
    path, touched = tmp_path / "hps.pt", tmp_path / "touched"
    torch.save({"state_dict": WEIGHTS, "note": Opener(touched)}, path)

    error = refusal(path)

    assert "holds more than weights" in error.message
    assert not touched.exists()


class Caller:
    """Runs a command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def hostile(path: Path, form: str, command: str) -> None:
    """A file that runs a command where it is unpickled, in every form that a .pth comes in."""
    content = {"state_dict": {"a": Caller(command)}}
    match form:
        case "archive":
            torch.save(content, path)
        case "legacy":
            torch.save(content, path, _use_new_zipfile_serialization=False)
        case "bare":
            path.write_bytes(pickle.dumps(content, protocol=2))
        case "bare, protocol 5":
            path.write_bytes(pickle.dumps(content, protocol=5))
        case "text":
            path.write_bytes(b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR.")


@pytest.mark.parametrize("read", [read_weights, openmmlab._read])
@pytest.mark.parametrize("form", ["archive", "legacy", "bare", "bare, protocol 5", "text"])
def test_a_malicious_file_is_refused_as_unsafe_with_what_it_would_call(
    tmp_path: Path, form: str, read: Callable[[Path], object]
) -> None:
    path, touched = tmp_path / "detector.pth", tmp_path / "touched"
    hostile(path, form, f"touch {touched}")

    with pytest.raises(UserError) as caught:
        read(path)

    assert f"{path} holds more than weights (posix.system)" in caught.value.message
    assert "refused as unsafe" in caught.value.message
    assert "damaged" not in caught.value.message
    assert not touched.exists()


def test_weights_in_the_older_form_name_nothing_unsafe(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    content = {"state_dict": OrderedDict(WEIGHTS), "meta": {"CLASSES": ("person",)}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert unsafe_name(path) is None
    torch.save(content, path)
    assert unsafe_name(path) is None
    for size in (0, 1, 40, 300):
        part = tmp_path / "part.pth"
        part.write_bytes(path.read_bytes()[:size])
        assert unsafe_name(part) is None


def test_a_mask_with_infinities_may_be_left_out(tmp_path: Path) -> None:
    """OpenCLIP's older checkpoints hold one beside the weights."""
    path = tmp_path / "hps.pt"
    torch.save(WEIGHTS | {"attn_mask": torch.full((2, 2), float("-inf"))}, path)
    assert read_weights(path, ignored=("attn_mask",)).keys() == WEIGHTS.keys()
    assert "'attn_mask' holds numbers that are not finite (4 of 4)" in refusal(path).message


def test_the_class_of_a_pickled_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hps.pt"
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=1)}, path)

    assert "(argparse.Namespace)" in refusal(path).message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"visual.proj": 3}, "'visual.proj' holds int, not a tensor"),
        ({"visual.proj": [torch.zeros(1)]}, "'visual.proj' holds list, not a tensor"),
        ({"a": torch.tensor([1.0, float("nan")])}, "'a' holds numbers that are not finite"),
        ({"a": torch.tensor([float("inf")])}, "'a' holds numbers that are not finite"),
        ({}, "holds dict, not weights by name"),
        ({"state_dict": {}}, "holds dict, not weights by name"),
        (torch.zeros(3), "holds Tensor, not weights by name"),
    ],
)
def test_what_is_no_weight_is_refused_by_key(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "hps.pt"
    torch.save(content, path)

    assert said in refusal(path).message


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hps.pt"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1972484501\n")
    assert refusal(path).hint == "Run: git lfs pull"
    path.write_text("<html>Not found</html>")
    assert "not an archive as torch.save writes them" in refusal(path).message
    path.unlink()
    assert "No such file or directory" in refusal(path).message
    assert "No such file or directory" in refusal(tmp_path / "hps.safetensors").message


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ViT-L-14.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))

    assert "TorchScript program" in refusal(path).message


# Which of the files


def names(*given: str) -> list[str]:
    return [path.name for path in weight_files([Path(name) for name in given])]


def test_safetensors_are_preferred_and_shards_stay_together() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

    assert names("config.json", "pytorch_model.bin", "model.safetensors") == ["model.safetensors"]
    assert names("HPS_v2.1_compressed.pt", "merges.txt") == ["HPS_v2.1_compressed.pt"]
    assert names(*shards, "pytorch_model.bin") == shards


def test_two_checkpoints_are_ambiguous() -> None:
    with pytest.raises(UserError, match=r"HPS_v2_compressed\.pt, HPS_v2\.1_compressed\.pt"):
        names("HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt")


def test_no_weights_among_the_files() -> None:
    with pytest.raises(UserError, match=r"No weights among the files \(merges\.txt\)"):
        names("merges.txt")
