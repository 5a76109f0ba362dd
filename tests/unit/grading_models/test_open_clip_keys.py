"""Names and shapes of OpenCLIP's checkpoints, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.open_clip_reference import Size, build
from transformers import CLIPConfig, CLIPModel

from pairuni_eval.errors import UserError
from pairuni_eval.grading_models import open_clip_keys
from pairuni_eval.grading_models.open_clip_keys import VIT_H_14, read_architecture
from pairuni_eval.models.weight_file import check_shapes

SIZE = Size()


def architecture(tmp_path: Path, size: Size = SIZE) -> open_clip_keys.Architecture:
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": size.config()}))
    return read_architecture(path)


def test_the_expected_shapes_are_those_of_an_open_clip_model(tmp_path: Path) -> None:
    shapes = {name: tuple(value.shape) for name, value in build(SIZE, 0).state_dict().items()}

    assert open_clip_keys.expected_shapes(architecture(tmp_path)) == shapes


def test_vit_h_14_has_the_published_number_of_parameters() -> None:
    shapes = open_clip_keys.expected_shapes(VIT_H_14)

    # 12 tensors a block, 32 + 24 blocks, 14 beside them.
    assert len(shapes) == 56 * 12 + 14
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 986_109_441
    assert shapes["visual.proj"] == (1280, 1024)
    assert shapes["visual.positional_embedding"] == (257, 1280)
    assert VIT_H_14.vision_cfg.heads == 16  # 80 channels each, not 64


def test_in_proj_is_cut_into_query_key_value_in_this_order() -> None:
    state = {
        "transformer.resblocks.0.attn.in_proj_weight": torch.tensor([[1.0], [2.0], [3.0]]),
        "visual.transformer.resblocks.7.attn.in_proj_bias": torch.arange(6.0),
    }

    renamed = open_clip_keys.to_transformers(state)

    text, vision = (
        "text_model.encoder.layers.0.self_attn",
        "vision_model.encoder.layers.7.self_attn",
    )
    assert {name: value.tolist() for name, value in renamed.items()} == {
        f"{text}.q_proj.weight": [[1.0]],
        f"{text}.k_proj.weight": [[2.0]],
        f"{text}.v_proj.weight": [[3.0]],
        f"{vision}.q_proj.bias": [0.0, 1.0],
        f"{vision}.k_proj.bias": [2.0, 3.0],
        f"{vision}.v_proj.bias": [4.0, 5.0],
    }


def test_projections_are_transposed() -> None:
    matrix = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    renamed = open_clip_keys.to_transformers({"visual.proj": matrix, "text_projection": matrix})

    turned = [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    assert renamed["visual_projection.weight"].tolist() == turned
    assert renamed["text_projection.weight"].tolist() == turned


def test_every_name_finds_its_place_in_transformers() -> None:
    tower = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    words = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = CLIPConfig(
        vision_config={"image_size": 32, "patch_size": 8, "intermediate_size": 192, **tower},
        text_config={
            "vocab_size": SIZE.vocabulary,
            "intermediate_size": 128,
            "bos_token_id": 0,
            "eos_token_id": 1,
            **words,
        },
        projection_dim=24,
    )
    expected = {name: value.shape for name, value in CLIPModel(config).state_dict().items()}

    renamed = open_clip_keys.to_transformers(build(SIZE, 0).state_dict())

    assert {name: value.shape for name, value in renamed.items()} == expected


def test_a_name_that_open_clip_has_not_is_a_key_error() -> None:
    with pytest.raises(KeyError, match=r"visual\.stem"):
        open_clip_keys.to_transformers({"visual.stem.weight": torch.zeros(1)})


# Configurations


def test_a_bare_model_configuration_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "ViT-tiny.json"
    path.write_text(json.dumps(SIZE.config()))

    assert read_architecture(path) == architecture(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vision_cfg": {"timm_model_name": "vit"}}, "timm_model_name"),
        ({"embed_dim": "24"}, "embed_dim"),
        ({"text_cfg": {"width": 32}}, "heads"),
    ],
)
def test_another_architecture_is_refused_by_its_key(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": SIZE.config() | change}))

    with pytest.raises(UserError) as refused:
        read_architecture(path)

    assert str(path) in refused.value.message
    assert said in refused.value.message


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "open_clip_config.json"
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"open_clip_config\.json"):
        read_architecture(path)


# Wrong weights

SHAPES = {"visual.proj": (2, 3), "ln_final.bias": (4,), "logit_scale": ()}


def weights(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    given = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    changed = given | {name.replace("__", "."): value for name, value in changes.items()}  # type: ignore[operator]
    return {name: value for name, value in changed.items() if value is not None}


def refusal(found: dict[str, torch.Tensor]) -> UserError:
    with pytest.raises(UserError) as refused:
        check_shapes(Path("hps.pt"), found, SHAPES, model="ViT-X")
    return refused.value


def test_the_right_weights_pass() -> None:
    check_shapes(Path("hps.pt"), weights(), SHAPES, model="ViT-X")


def test_a_renamed_key_is_named_with_its_nearest() -> None:
    error = refusal(weights(visual__proj=None, visual__prj=torch.zeros(2, 3)))

    assert error.message == ("hps.pt: 'visual.proj' of ViT-X is missing; nearest is 'visual.prj'.")
    assert error.hint == "Get the published file: its names were changed."


def test_missing_keys_are_counted() -> None:
    error = refusal(weights(visual__proj=None, logit_scale=None))

    assert error.message == "hps.pt: 'visual.proj' of ViT-X is missing (2 keys like that)."
    assert error.hint == "Get the published file: it is cut short or of another model."


def test_an_unknown_key_is_named() -> None:
    error = refusal(weights(visual__projection=torch.zeros(1)))

    assert error.message == "hps.pt: ViT-X has no 'visual.projection'; nearest is 'visual.proj'."


def test_a_wrong_shape_is_named_with_both() -> None:
    error = refusal(weights(visual__proj=torch.zeros(3, 2)))

    assert error.message == "hps.pt: 'visual.proj' has shape (3, 2), ViT-X has (2, 3)."
