"""Device names: what is here, what is not, and what both command lines say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pairuni_eval import devices
from pairuni_eval.devices import found_devices, pick_device
from pairuni_eval.errors import UserError
from pairuni_train.grpo.image_rewards import ClipScore
from pairuni_train.pair_data.config import EncoderSpec
from pairuni_train.pair_data.encoders import load_encoder


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an accelerator."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two CUDA devices, as torch describes it."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["mps", "xpu", "cuda", "cuda:1", "hpu", "meta", "cpu:1"])
def test_a_device_that_is_not_here_is_a_sentence_with_those_that_are(name: str) -> None:
    with pytest.raises(UserError) as caught:
        pick_device(name)
    assert caught.value.message == f"There is no device '{name}' here: torch finds cpu."
    assert caught.value.hint == "Set --device to one of: auto, cpu."


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CUDA", "0 1"])
def test_a_name_that_torch_does_not_know_is_a_sentence(name: str) -> None:
    with pytest.raises(UserError, match=f"Unknown device '{name}'"):
        pick_device(name)


@pytest.mark.usefixtures("two")
def test_devices_are_counted() -> None:
    assert found_devices() == ("cpu", "cuda:0", "cuda:1")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda")
    with pytest.raises(UserError, match="no device 'cuda:2' here: torch finds cpu, cuda:0, cuda:1"):
        pick_device("cuda:2")
    with pytest.raises(UserError, match="no device 'xpu' here"):
        pick_device("xpu")


def test_the_cpu_is_always_here_and_auto_is_some_device() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(devices.AUTO).type in ("cpu", "cuda")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_run_says_so(cli: Any, name: str) -> None:
    ran = cli("run", "--checkpoint", "tiny", "--device", name, "--limit", 1)
    assert ran.code == 2
    assert f"There is no device '{name}' here: torch finds cpu." in " ".join(ran.err.split())
    assert "Traceback" not in ran.err


@pytest.mark.usefixtures("bare")
def test_training_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no device 'mps' here") as caught:
        load_encoder(EncoderSpec(name="dinov3", device="mps"))
    assert str(caught.value.hint).startswith("Set encoder.device to one of")
    with pytest.raises(UserError, match="no device 'xpu' here") as caught:
        ClipScore.load({"files": str(tmp_path), "device": "xpu"})
    assert "the option `device` of the reward 'clipscore'" in str(caught.value.hint)
