"""CLIP from both layouts gives the features of a plain OpenCLIP; what does not fit is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.open_clip_reference import MERGES, OpenClip, Size, build, write_files
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from pairuni_eval.errors import UserError
from pairuni_eval.grading_models.clip import ClipTowers
from pairuni_eval.grading_models.clip_text import ClipTokenizer

SIZE = Size()
PAIRS = [(left, right) for left, right in (merge.split() for merge in MERGES)]
TEXTS = ["a photo of the cat", "", "the dog's coffee ... " * 40, "rocket"]


def pixels() -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, SIZE.image, SIZE.image, generator=draw)


def expected(model: OpenClip) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        images = model.images(pixels())
        texts = model.texts(ClipTokenizer(PAIRS)(TEXTS))
    return functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)


def assert_features(clip: ClipTowers, model: OpenClip, tolerance: float = 1e-5) -> None:
    images, texts = expected(model)
    assert (clip.image_features(pixels()) - images).abs().max() < tolerance
    assert (clip.text_features(TEXTS) - texts).abs().max() < tolerance


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_open_clip_weights_give_open_clip_s_features(tmp_path: Path, quick_gelu: bool) -> None:
    size = Size(quick_gelu=quick_gelu)
    clip = ClipTowers.load(write_files(tmp_path, size, seed=1), device="cpu")

    assert_features(clip, build(size, 1))
    # The test can tell the activations apart.
    other = expected(build(Size(quick_gelu=not quick_gelu), 1))[0]
    assert (clip.image_features(pixels()) - other).abs().max() > 1e-3


def test_the_towers_keep_their_own_numbers_of_heads(tmp_path: Path) -> None:
    size = Size(head_width=24, text_heads=4)

    assert_features(
        ClipTowers.load(write_files(tmp_path, size, seed=1), device="cpu"), build(size, 1)
    )


def test_what_was_loaded(tmp_path: Path) -> None:
    clip = ClipTowers.load(write_files(tmp_path, SIZE, seed=1), device="cpu")

    assert clip.name == "hps.pt"
    assert clip.image_size == 32
    assert clip.logit_scale == pytest.approx(math.exp(3.0))
    assert clip.image_features(pixels()).norm(dim=-1).tolist() == pytest.approx([1.0] * 4)


def test_half_precision_weights_are_computed_in_float32(tmp_path: Path) -> None:
    """As HPSv2 does: the published file holds float16."""
    files = write_files(tmp_path, SIZE, seed=1)
    half = {name: value.half() for name, value in build(SIZE, 1).state_dict().items()}
    torch.save({"state_dict": half}, files[0])
    rounded = build(SIZE, 1)
    rounded.load_state_dict({name: value.float() for name, value in half.items()})

    clip = ClipTowers.load(files, device="cpu")

    assert clip.dtype == torch.float32
    assert_features(clip, rounded)


def test_an_architecture_that_is_known_needs_no_configuration(tmp_path: Path) -> None:
    from pairuni_eval.grading_models.open_clip_keys import read_architecture

    weights, config, merges = write_files(tmp_path, SIZE, seed=1)

    clip = ClipTowers.load([weights, merges], device="cpu", architecture=read_architecture(config))

    assert_features(clip, build(SIZE, 1))


def transformers_folder(folder: Path, **text_changes: Any) -> CLIPModel:
    """A CLIPModel as save_pretrained leaves it, beside a merge list."""
    config = CLIPConfig(
        vision_config={
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 48,
            "intermediate_size": 100,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        text_config={
            "vocab_size": SIZE.vocabulary,
            "hidden_size": 32,
            "intermediate_size": 70,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "bos_token_id": SIZE.vocabulary - 2,
            "eos_token_id": SIZE.vocabulary - 1,
            **text_changes,
        },
        projection_dim=24,
    )
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES), encoding="utf-8")
    return model


def of_transformers(model: CLIPModel) -> tuple[Tensor, Tensor]:
    ids = ClipTokenizer(PAIRS)(TEXTS)
    with torch.no_grad():
        images = model.get_image_features(pixel_values=pixels()).pooler_output
        texts = model.get_text_features(input_ids=ids).pooler_output
    return functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)


def assert_same(clip: ClipTowers, features: tuple[Tensor, Tensor]) -> None:
    assert (clip.image_features(pixels()) - features[0]).abs().max() < 1e-6
    assert (clip.text_features(TEXTS) - features[1]).abs().max() < 1e-6


def test_a_transformers_folder(tmp_path: Path) -> None:
    model = transformers_folder(tmp_path)

    clip = ClipTowers.load([tmp_path], device="cpu")

    assert_same(clip, of_transformers(model))
    assert clip.name == "model.safetensors"


def test_an_old_configuration_with_a_wrong_end_token_is_read_at_the_end_all_the_same(
    tmp_path: Path,
) -> None:
    """Those from before transformers 4.31, OpenAI's among them, say eos_token_id 2."""
    features = of_transformers(transformers_folder(tmp_path))
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["eos_token_id"] = 2
    config["text_config"] |= {"bos_token_id": 0, "length_penalty": 1.0, "torch_dtype": None}
    config["text_config_dict"] = None
    path.write_text(json.dumps(config))

    assert_same(ClipTowers.load([tmp_path], device="cpu"), features)


def test_position_constants_that_old_files_store_are_passed_over(tmp_path: Path) -> None:
    features = of_transformers(transformers_folder(tmp_path))
    path = tmp_path / "model.safetensors"
    old = {f"{t}_model.embeddings.position_ids": torch.arange(9) for t in ("text", "vision")}
    save_file(load_file(path) | old, path)

    assert_same(ClipTowers.load([tmp_path], device="cpu"), features)


def test_shards_are_put_together(tmp_path: Path) -> None:
    features = of_transformers(transformers_folder(tmp_path))
    whole = tmp_path / "model.safetensors"
    weights = load_file(whole)
    whole.unlink()
    for shard in (0, 1):
        part = {name: weights[name] for name in sorted(weights)[shard::2]}
        save_file(part, tmp_path / f"model-0000{shard + 1}-of-00002.safetensors")

    assert_same(ClipTowers.load([tmp_path], device="cpu"), features)


def test_features_are_float32_in_any_precision_and_under_autocast(tmp_path: Path) -> None:
    files = write_files(tmp_path, SIZE, seed=1)
    exact, coarse = (ClipTowers.load(files, device="cpu", dtype=d) for d in ("float32", "bfloat16"))
    alone = exact.image_features(pixels()), exact.text_features(TEXTS)

    with torch.autocast("cpu", torch.bfloat16):
        inside = exact.image_features(pixels()), exact.text_features(TEXTS)

    assert all(one.equal(other) for one, other in zip(alone, inside, strict=True))
    low = coarse.image_features(pixels())
    assert low.dtype == torch.float32
    assert low.norm(dim=-1).tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    assert 0 < (low - alone[0]).abs().max() < 0.05
    assert coarse.logit_scale == exact.logit_scale


# What is refused

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def refusal(files: Sequence[Path], **options: Any) -> UserError:
    with pytest.raises(UserError) as refused:
        ClipTowers.load(files, **({"device": "cpu"} | options))
    return refused.value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda state: {f"model.{name}": value for name, value in state.items()},
            "'visual.class_embedding' of the model of open_clip_config.json is missing; "
            "nearest is 'model.visual.class_embedding' (74 keys like that).",
        ),
        (
            lambda state: {n: v for n, v in state.items() if "resblocks.1." not in n},
            "'visual.transformer.resblocks.1.ln_1.weight' of the model of open_clip_config.json "
            "is missing (24 keys like that).",
        ),
        (
            lambda state: state | {"visual.proj": state["visual.proj"].T.contiguous()},
            "'visual.proj' has shape (24, 48), the model of open_clip_config.json has (48, 24).",
        ),
        (
            lambda state: state | {"ln_final.bias": torch.zeros(32, dtype=torch.int8)},
            "'ln_final.bias' is torch.int8, expected a floating-point type.",
        ),
        (
            lambda state: state | {"score_head.weight": torch.zeros(1)},
            "the model of open_clip_config.json has no 'score_head.weight'",
        ),
    ],
    ids=["renamed", "cut short", "transposed", "quantized", "with a head"],
)
def test_weights_that_do_not_fit_are_refused_by_key(
    tmp_path: Path, change: Change, said: str
) -> None:
    files = write_files(tmp_path, SIZE, seed=1)
    torch.save({"state_dict": change(build(SIZE, 1).state_dict())}, files[0])

    error = refusal(files)

    assert error.message.startswith(f"{files[0]}: ")
    assert said in error.message


def test_each_layout_asks_for_its_own_configuration(tmp_path: Path) -> None:
    open_clip = write_files(tmp_path / "a", SIZE, seed=1)
    transformers_folder(tmp_path / "b")
    theirs = [tmp_path / "b" / name for name in ("model.safetensors", "config.json", "merges.txt")]

    swapped = refusal([open_clip[0], *theirs[1:]])
    assert swapped.hint is not None
    assert swapped.hint.startswith("The names are those of OpenCLIP: give its open_clip_config")
    swapped = refusal([theirs[0], *open_clip[1:]])
    assert swapped.hint is not None
    assert swapped.hint.startswith("The names are those of transformers: give its config.json")
    assert (
        "both config.json and open_clip_config.json" in refusal([*theirs, *open_clip[1:]]).message
    )
    assert "No configuration of CLIP among" in refusal([open_clip[0], open_clip[2]]).message
    assert "No merge list of CLIP's tokenizer" in refusal(open_clip[:2]).message
    assert "No weights among the files" in refusal(open_clip[1:]).message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "siglip"}, "model_type is 'siglip', expected 'clip'"),
        ({"model_type": None}, "model_type is None"),
        ({"text_config": {"hidden_size": 33, "num_attention_heads": 2}}, "33"),
        ({"text_config": {"hidden_size": "x"}}, "hidden_size"),
        ({"projection_dim": 25}, "(24, 48), the model of config.json has (25, 48)"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    transformers_folder(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    assert said in refusal([tmp_path]).message


def test_a_configuration_that_is_no_json_is_refused(tmp_path: Path) -> None:
    transformers_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")

    assert f"{tmp_path / 'config.json'}: not JSON" in refusal([tmp_path]).message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "gpu9"}, "Unknown device 'gpu9'"),
        ({"dtype": "float33"}, "Unknown precision 'float33'"),
        ({"dtype": "int8"}, "Unknown precision 'int8'"),
    ],
)
def test_where_and_how_it_cannot_run(tmp_path: Path, options: dict[str, str], said: str) -> None:
    assert said in refusal(write_files(tmp_path, SIZE, seed=1), **options).message
