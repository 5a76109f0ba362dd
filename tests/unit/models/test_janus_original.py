"""Janus in DeepSeek's original format: read, written back, and refused by name where it cannot be.

Small random weights of the real classes; what DeepSeek's own code makes of such a checkpoint is
held in tests/parity/test_janus_original.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.command_line import Cli
from torch import Tensor

from pairuni_eval.adapters import expected_memory, find_adapter, load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.models.formats import CheckpointFormat
from pairuni_eval.models.janus import JanusModel
from pairuni_eval.models.janus.conversion import convert
from pairuni_eval.models.janus.original_names import from_original, to_original
from pairuni_eval.models.janus.pixels import squared
from pairuni_eval.tiny import janus
from pairuni_train.setup import load_trainable

SIZE = janus.TinySize(
    hidden=32,
    layers=1,
    heads=2,
    feed_forward=48,
    vision_hidden=32,
    vision_layers=2,
    vision_heads=16,
)
LOST = "gen_vision_model.decoder.conv_out.bias"


@pytest.fixture(scope="module")
def transformers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Janus that the original format can hold, in bfloat16, every weight at random."""
    made = janus.build(1, SIZE)
    made.processor.use_default_system_prompt = True
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.05 * noise)
    folder = tmp_path_factory.mktemp("transformers") / "small"
    janus.save(janus.Tiny(made.model.bfloat16(), made.processor), folder, recipe="none", step=3)
    return folder


@pytest.fixture(scope="module")
def original(transformers_folder: Path) -> Path:
    """The same in the original format."""
    folder = transformers_folder.parent / "original-format"
    assert convert(str(transformers_folder), folder, None) == "original"
    return folder


@pytest.fixture
def damaged(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "damaged"))


def load(folder: Path | str, dtype: str = "auto") -> JanusModel:
    model = load_model(str(folder), None, LoadOptions("cpu", dtype))
    assert isinstance(model, JanusModel)
    return model


def said_and_drawn(model: JanusModel) -> tuple[str | None, bytes]:
    picture = Image.new("RGB", (48, 31), (200, 30, 60))
    asked = Request((picture, "what is it?"), Decoding(max_tokens=6), 1, "q")
    drawn = Request(("a red circle",), Decoding(temperature=1.0, cfg_scale=3.0), 2, "d")
    (reply,), (made,) = model.answer([asked]), model.draw([drawn])
    assert made.image is not None
    return reply.text, made.image.tobytes()


def test_both_formats_are_one_model(original: Path, transformers_folder: Path) -> None:
    config = json.loads((original / "config.json").read_text())
    assert config["model_type"] == "multi_modality"
    assert find_adapter(str(original)).adapter == "janus"
    ours, theirs = load(original), load(transformers_folder)
    state, other = (m.policy.state_dict() for m in (ours, theirs))
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert said_and_drawn(ours) == said_and_drawn(theirs)
    assert ours.capabilities == theirs.capabilities, "pairuni.json goes along"


def test_auto_is_the_checkpoints_own_precision_on_a_cpu(original: Path) -> None:
    assert load(original).identity.dtype == "bfloat16"
    assert load(original, "float32").identity.dtype == "float32"


def test_memory_is_told_from_the_sizes_of_the_tensors(original: Path) -> None:
    numbers = sum(t.numel() for t in load_file(original / "model.safetensors").values())
    found = expected_memory(str(original), None, LoadOptions("cpu"))
    assert found == (2 * numbers, "bfloat16", "cpu")
    wide = expected_memory(str(original), None, LoadOptions("cpu", "float32"))
    assert wide is not None and wide.weights == 4 * numbers


def test_there_and_back_again_is_the_same_bits(original: Path, tmp_path: Path) -> None:
    kept = Path(shutil.copytree(original, tmp_path / "kept"))
    state = load_file(kept / "model.safetensors")
    pool = "vision_model.vision_tower.attn_pool.latent"
    state[pool] = torch.full_like(state[pool], 0.25)  # nothing reads it, and it is not lost
    save_file(state, kept / "model.safetensors", metadata={"format": "pt"})
    assert convert(str(kept), tmp_path / "there", None) == "transformers"
    assert convert(str(tmp_path / "there"), tmp_path / "back", None) == "original"
    again = load_file(tmp_path / "back" / "model.safetensors")
    assert again.keys() == state.keys()
    assert all(again[n].dtype == t.dtype and torch.equal(again[n], t) for n, t in state.items())
    for name in ("config.json", "tokenizer.json", "processor_config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (kept / name).read_bytes()


def test_a_changed_checkpoint_is_written_back(original: Path, tmp_path: Path) -> None:
    model = load(original, "float32")
    with torch.no_grad():
        model.policy.janus.model.language_model.layers[0].mlp.down_proj.weight.add_(0.01)
    model.policy.save(tmp_path / "checkpoint-1", {"step": 1})
    convert(str(tmp_path / "checkpoint-1"), tmp_path / "back", CheckpointFormat.ORIGINAL)
    assert json.loads((tmp_path / "back" / "config.json").read_text())["torch_dtype"] == "float32"
    assert said_and_drawn(load(tmp_path / "back")) == said_and_drawn(model)


def test_the_command_writes_a_folder_and_names_the_next(original: Path, cli: Cli) -> None:
    ran = cli("convert", str(original), "made", "--dtype", "float32")
    assert ran.code == 0 and "Written to made, in the transformers format" in ran.out
    assert load("made").identity.dtype == "float32"
    again = cli("convert", str(original), "made")
    assert again.code == 2 and "made exists already" in again.error


def test_names_of_every_tensor_go_there_and_back() -> None:
    state = janus.build(0, SIZE).model.state_dict()
    there = to_original(state)
    assert len(there) < len(state), "queries, keys and values are one tensor"
    back = from_original(there)
    assert back.tensors.keys() == state.keys() and not back.unknown and not back.unread
    assert all(torch.equal(back.tensors[name], state[name]) for name in state)


def edited(folder: Path, change: Any) -> None:
    """Rewrite the weights of a folder: `change` takes and gives tensors by name."""
    state = change(load_file(folder / "model.safetensors"))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def without(*beginnings: str) -> Any:
    def change(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: one for name, one in state.items() if not name.startswith(beginnings)}

    return change


def test_a_missing_tensor_is_named(damaged: Path) -> None:
    edited(damaged, without(LOST))
    with pytest.raises(UserError, match=r"1 weight is missing, e\.g\. .*decoder\.conv_out\.bias"):
        load(damaged)


@pytest.mark.parametrize(
    "name", ["value_head.weight", "vision_model.vision_tower.blocks.0.attn.q_norm.bias"]
)
def test_a_tensor_without_a_place_is_named(damaged: Path, name: str) -> None:
    edited(damaged, lambda state: state | {name: torch.zeros(32)})
    with pytest.raises(UserError, match="1 tensor has no place in Janus"):
        load(damaged)


def test_modules_that_are_missing_are_named_and_taken_from_a_base(
    damaged: Path, original: Path
) -> None:
    edited(damaged, without("gen_vision_model.", "gen_head."))
    with pytest.raises(UserError, match="no weights of gen_vision_model, gen_head") as told:
        load(damaged)
    assert f"+{damaged}" in str(told.value.hint)
    whole = load(f"{original}+{damaged}")
    assert said_and_drawn(whole) == said_and_drawn(load(original))
    assert whole.identity.name == "damaged"


def test_a_tokenizer_without_image_tokens_is_refused(damaged: Path) -> None:
    path = damaged / "tokenizer.json"
    path.write_text(path.read_text().replace(janus.BOI, "<nothing>"))
    with pytest.raises(UserError, match=f"no token {janus.BOI}"):
        load(damaged)
    path.unlink()
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        load(damaged)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vision_gen_enc_config": {}}, "this is JanusFlow"),
        ({"language_config": None}, "no table language_config"),
        ({"language_config": {"model_type": "qwen2"}}, "model_type is 'qwen2'"),
        ({"vision_config": {"params": {"select_layer": -2}}}, "select_layer is -2"),
    ],
)
def test_a_relative_is_named(damaged: Path, change: dict[str, Any], told: str) -> None:
    path = damaged / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=told):
        load(damaged)


def test_a_broken_config_beside_files_that_name_the_family(damaged: Path) -> None:
    (damaged / "config.json").write_text('{"model_type": "multi_modality",}')
    told = (
        r"config\.json: not JSON: .* The files beside it are of Janus in DeepSeek's original format"
    )
    with pytest.raises(UserError, match=told) as caught:
        find_adapter(str(damaged))
    assert "Copy config.json" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"config.json": {"model_type": "qwen2_5_vl"}}, "It is qwen2_5_vl, which answers"),
        ({"config.json": {"model_type": "showo"}}, "It is Show-o"),
    ],
)
def test_a_folder_of_another_family_is_named(
    tmp_path: Path, files: dict[str, dict[str, str]], told: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=told):
        find_adapter(str(tmp_path))


def test_training_takes_the_original_format_and_holds_it_in_float32(original: Path) -> None:
    found = load_trainable(str(original), torch.device("cpu"))
    assert {one.dtype for one in found.policy.parameters()} == {torch.float32}
    assert found.weights == load(original).identity.weights


def test_what_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"num_attention_heads is 4, .* stands for 16"):
        convert("tiny", tmp_path / "made", None)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("size", "inner"),
    [
        ((640, 426), (384, 255)),
        ((640, 480), (384, 288)),
        ((10, 1000), (14, 384)),
        ((384, 384), (384, 384)),
    ],
)
def test_the_shorter_side_is_cut_not_rounded(size: tuple[int, int], inner: tuple[int, int]) -> None:
    class Rule:
        size = {"height": 384, "width": 384}
        min_size = 14
        background_color = (127, 127, 127)

    class Processor:
        image_processor = Rule()

    white = squared(Image.new("RGB", size, "white"), Processor())
    assert white.size == (384, 384)
    box = white.point(lambda value: 255 * (value > 200)).getbbox()
    assert box is not None and (box[2] - box[0], box[3] - box[1]) == inner
