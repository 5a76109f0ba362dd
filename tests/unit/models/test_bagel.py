"""BAGEL's adapter on small random weights: what never moves, and what is refused."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pairuni_eval.adapters import find_adapter, load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel.adapter import BagelModel
from pairuni_eval.models.bagel.autoencoder import Autoencoder
from pairuni_eval.models.bagel.config import (
    AutoencoderConfig,
    BagelConfig,
    LanguageConfig,
    ResizeRule,
    VisionConfig,
    autoencoder_sizes,
)
from pairuni_eval.models.bagel.flow import FlowGuidance, timesteps
from pairuni_eval.models.bagel.network import Bagel
from pairuni_eval.models.bagel.pictures import fitted, on_white, patches, unpatched
from pairuni_eval.models.base import LoadOptions, Reply, Request
from pairuni_eval.models.strict_loading import on_meta
from pairuni_eval.records import Capability
from pairuni_eval.tiny import bagel, world

SMALL = bagel.TinyBagelSize(
    hidden=32,
    layers=2,
    heads=2,
    feed_forward=48,
    vision_hidden=16,
    vision_layers=1,
    vision_feed_forward=24,
)
SAY = Decoding(temperature=1.0, max_tokens=6)
RENORMS = ("none", "global", "channel", "text_channel")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("bagel")
    bagel.save(bagel.build(0, SMALL), found, recipe="pairuni-tiny-bagel-1", step=7)
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> BagelModel:
    found = load_model(str(folder), None, LoadOptions(device="cpu"))
    assert isinstance(found, BagelModel)
    return found


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may damage."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def scene(seed: int) -> Image.Image:
    return world.render(world.random_scene(random.Random(seed), held=False))


def drawing(renorm: Any = "global", **settings: Any) -> Decoding:
    settings = {"cfg_scale": 3.0, "steps": 4, "cfg_interval": (0.2, 1.0)} | settings
    return Decoding(cfg_renorm=renorm, **settings)


def asked(decoding: Decoding, count: int = 3, *, pictures: Any = None) -> list[Request]:
    texts = ("Is there a red circle?", "a photo of a blue square and a bafem", "What?")
    shown = pictures or [[] for _ in range(count)]
    return [Request((*shown[i], texts[i % 3]), decoding, 10 + i, str(i)) for i in range(count)]


def equal(one: Reply, other: Reply) -> bool:
    if one.image is None or other.image is None:
        return one == other
    apart = np.asarray(one.image).astype(int) - np.asarray(other.image).astype(int)
    return one.text == other.text and int(np.abs(apart).max()) <= 1


def same_alone(respond: Callable[[list[Request]], list[Reply]], requests: list[Request]) -> None:
    together = respond(requests)
    assert all(reply.error is None for reply in together)
    for request, reply in zip(requests, together, strict=True):
        assert equal(reply, respond([request])[0]), request.uid


@pytest.mark.parametrize("thinking", [False, True])
def test_an_answer_does_not_depend_on_its_neighbors(model: BagelModel, thinking: bool) -> None:
    decoding = Decoding(temperature=1.0, max_tokens=6, thinking=thinking)
    pictures = [[scene(1)], [], [scene(2), scene(1)], [scene(1)]]
    same_alone(model.answer, asked(decoding, 4, pictures=pictures))


@pytest.mark.parametrize("renorm", RENORMS)
def test_a_drawing_does_not_depend_on_its_neighbors(model: BagelModel, renorm: str) -> None:
    same_alone(model.draw, asked(drawing(renorm)))


@pytest.mark.parametrize("renorm", RENORMS)
def test_an_edit_does_not_depend_on_its_neighbors(model: BagelModel, renorm: str) -> None:
    pictures = [[scene(1)], [scene(1)], [scene(2)]]
    same_alone(model.edit, asked(drawing(renorm, cfg_image_scale=2.0), pictures=pictures))


def test_a_thought_before_a_picture_does_not_depend_on_its_neighbors(model: BagelModel) -> None:
    decoding = drawing(thinking=True, temperature=1.0, max_tokens=4)
    same_alone(model.draw, asked(decoding))
    same_alone(model.edit, asked(decoding, pictures=[[scene(1)], [scene(2)], [scene(3)]]))
    assert all(reply.text for reply in model.draw(asked(decoding)))


def test_draws_of_a_prompt_share_its_context_and_differ(model: BagelModel) -> None:
    decoding = drawing()
    requests = [Request(("a red circle",), decoding, seed, str(seed)) for seed in range(3)]
    made = model.draw(requests)
    branches, _ = model.inference.branches_of_prompts(requests)
    assert len({reply.image.tobytes() for reply in made if reply.image}) == 3
    assert len(branches.whole) == 3


def test_a_folder_is_known_by_its_files(copy: Path) -> None:
    assert find_adapter(str(copy)).adapter == "bagel"
    table = json.loads((copy / "config.json").read_text())
    for content in ("{not json,}", None):
        if content is None:
            (copy / "config.json").unlink()
        else:
            (copy / "config.json").write_text(content)
        assert find_adapter(str(copy)).adapter == "bagel"
        found = load_model(str(copy), None, LoadOptions(device="cpu"))
        # Without its table the sizes and decodings are the published ones.
        assert found.decoding(Capability.EDIT, "gedit", Decoding()).cfg_image_scale == 1.5
    assert table["bagel_decoding"]["edit"]["steps"] == 11


def test_official_settings_go_by_the_benchmark(copy: Path) -> None:
    (copy / "config.json").unlink()
    found = load_model(str(copy), None, LoadOptions(device="cpu"))
    card = Decoding(max_tokens=64)
    wise = found.decoding(Capability.GENERATE, "wise", card)
    assert (wise.steps, wise.timestep_shift, wise.cfg_scale) == (50, 3.0, 4.0)
    assert (wise.thinking, wise.temperature, wise.cfg_interval) == (True, 0.3, (0.4, 1.0))
    assert found.decoding(Capability.GENERATE, "geneval", card).cfg_interval == (0.0, 1.0)
    assert found.decoding(Capability.EDIT, "imgedit", card).cfg_renorm == "text_channel"
    assert found.decoding(Capability.UNDERSTAND, "mme", card).max_tokens == 19
    assert found.decoding(Capability.UNDERSTAND, "mmstar", card).max_tokens == 999


def damaged(copy: Path, file: str, change: Callable[[dict[str, torch.Tensor]], None]) -> str:
    tensors = load_file(copy / file)
    change(tensors)
    save_file(tensors, copy / file)
    with pytest.raises(UserError) as refused:
        load_model(str(copy), None, LoadOptions(device="cpu"))
    return str(refused.value.message)


def test_a_missing_expert_is_refused_by_name(copy: Path) -> None:
    name = "language_model.model.layers.1.mlp_moe_gen.up_proj.weight"

    def other(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[name]

    assert name in damaged(copy, "ema.safetensors", other)


def test_a_tower_of_another_size_is_refused(copy: Path) -> None:
    table = json.loads((copy / "vit_config.json").read_text())
    (copy / "vit_config.json").write_text(json.dumps(table | {"hidden_size": 24}))
    said = damaged(copy, "ema.safetensors", lambda _: None)
    assert "patch_embedding.weight is (16, 192), and its configuration says (24, 192)" in said


def test_an_autoencoder_of_another_model_is_refused(copy: Path) -> None:
    def other(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("encoder.down.2")]:
            del tensors[name]

    said = damaged(copy, "ae.safetensors", other)
    assert "20 tensors have no place in BAGEL's auto-encoder: decoder.up.2.block.0" in said


def test_weights_of_a_fine_tune_are_found_under_their_other_name(copy: Path) -> None:
    (copy / "ema.safetensors").rename(copy / "model.safetensors")
    assert load_model(str(copy), None, LoadOptions(device="cpu")).identity.weights
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"neither ema\.safetensors nor model\.safetensors"):
        load_model(str(copy), None, LoadOptions(device="cpu"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": (33, 32)}, "33x32 is not in multiples of 8 pixels"),
        ({"size": (64, 32)}, "64x32 is more than the 32 pixels"),
        ({"cfg_scale": 1.0, "cfg_image_scale": 2.0}, "cfg_image_scale: 2.0 does nothing"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    model: BagelModel, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        model.draw(asked(drawing(**settings), 1))


def test_a_picture_of_numbers_that_are_not_finite_is_an_error(folder: Path) -> None:
    broken = load_model(str(folder), None, LoadOptions(device="cpu"))
    assert isinstance(broken, BagelModel)
    with torch.no_grad():
        broken.inference._network.llm2vae.bias[0] = float("nan")
    (reply,) = broken.draw(asked(drawing(), 1))
    assert reply.image is None
    assert "finite" in (reply.error or "")


def test_every_real_key_has_a_place(shared: Path) -> None:
    """1,223 tensors of the model and 244 of the auto-encoder, none left, none missing."""
    path = shared / "data" / "models" / "bagel" / "real_keys.txt"
    if not path.is_file():
        pytest.skip(f"no list of the published keys in {path}")
    parts: list[dict[str, tuple[int, ...]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not re.match(r"[a-z0-9_]+[.]", line):
            parts.append({})
            continue
        name, sizes, times = re.fullmatch(r"(\S+) \[([\d, ]+)\](?: x(\d+))?", line).groups()  # type: ignore[union-attr]
        shape = tuple(map(int, sizes.split(",")))
        for number in range(int(times or 1)):
            parts[-1][name.replace(".N.", f".{number}.")] = shape
    network, autoencoder = parts
    assert (len(network), len(autoencoder)) == (1_223, 244)
    language = LanguageConfig(
        hidden_size=3_584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152_064,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
    )
    vision = VisionConfig(
        hidden_size=1_152,
        intermediate_size=4_304,
        num_attention_heads=16,
        num_hidden_layers=27,
        patch_size=14,
    )
    sizes = autoencoder_sizes(path, autoencoder)
    assert sizes == AutoencoderConfig((128, 256, 512, 512), 2, 16)
    config = BagelConfig(language, vision, sizes, 64, 2, 70)
    assert (config.cell, config.token) == (16, 64)
    for build, expected in (
        (lambda: Bagel(config), network),
        (lambda: Autoencoder(sizes), autoencoder),
    ):
        made = on_meta(build)
        assert {name: tuple(one.shape) for name, one in made.state_dict().items()} == expected


def test_points_in_time_move_towards_noise() -> None:
    assert timesteps(3, 1.0) == [1.0, 0.5, 0.0]
    assert timesteps(3, 3.0) == [1.0, 0.75, 0.0]
    guided = [FlowGuidance(4.0, low=0.4).at(time) for time in timesteps(50, 3.0)[:-1]]
    assert (sum(guided), len(guided)) == (41, 49)  # what the official loop guides


def test_guidance_by_hand() -> None:
    whole, wordless = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, 0.0]]])
    # Twice the whole velocity, shrunk to its length 5.
    assert torch.allclose(FlowGuidance(2.0).mixed(whole, wordless, whole), whole)
    raw = FlowGuidance(2.0, renorm="none").mixed(whole, wordless, whole)
    assert torch.equal(raw, 2 * whole)
    # Never below the least share: 10 to 7.5, not to 5.
    least = FlowGuidance(2.0, least=0.75).mixed(whole, wordless, whole)
    assert torch.allclose(least, 1.5 * whole)
    # Without a branch of its own the picture's scale repeats the step away from the whole.
    picture = FlowGuidance(2.0, 3.0, renorm="none").mixed(whole, wordless, whole)
    assert torch.equal(picture, whole + 3.0 * (2 * whole - whole))


def test_patches_are_row_column_channel() -> None:
    pixels = torch.arange(24.0).view(2, 2, 6)
    cut = patches(pixels, 2)
    assert cut[1].tolist() == [2, 14, 3, 15, 8, 20, 9, 21]
    assert torch.equal(unpatched(cut, (1, 3), 2), pixels)


def test_sizes_by_hand() -> None:
    rule = ResizeRule(longest=1024, shortest=512, stride=16)
    assert fitted((640, 480), rule) == (688, 512)
    assert fitted((2000, 100), rule) == (1024, 48)  # the minimum gives way


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert on_white(clear).getpixel((0, 0)) == (255, 255, 255)


def test_weights_stored_in_less_are_computed_with_as_the_folder_says(
    copy: Path,
) -> None:
    bagel.save(bagel.build(0, SMALL), copy, recipe="none", step=0, stored=torch.bfloat16)
    stored = load_file(copy / "ema.safetensors")
    assert {one.dtype for one in stored.values()} == {torch.bfloat16}
    found = load_model(str(copy), None, LoadOptions(device="cpu"))
    assert isinstance(found, BagelModel)
    assert found.loaded.network.dtype == torch.float32
    assert found.identity.dtype == "float32"
    memory = BagelModel.memory(str(copy), LoadOptions(device="cpu"))
    assert memory.dtype == "float32"
    assert torch.equal(found.loaded.network.llm2vae.weight, stored["llm2vae.weight"].float())
    half = load_model(str(copy), None, LoadOptions(device="cpu", dtype="bfloat16"))
    assert half.identity.dtype == "bfloat16"
