"""Weights in mmdet's layout give mmdet's numbers; what is not such a checkpoint is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.openmmlab_reference import Detector, Merger, Size, WindowAttention, build
from torch import Tensor
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
from transformers.models.swin.modeling_swin import SwinAttention, SwinPatchMerging

from pairuni_eval.errors import UserError
from pairuni_eval.grading_models import openmmlab

SIZE = Size()


def config(size: Size = SIZE) -> Mask2FormerConfig:
    """The same architecture in the words of transformers."""
    backbone = SwinConfig(
        embed_dim=size.width,
        depths=list(size.depths),
        num_heads=list(size.heads),
        window_size=size.window,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=size.features,
        mask_feature_size=size.features,
        hidden_dim=size.features,
        encoder_feedforward_dim=size.encoder_width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers + 1,
        dim_feedforward=size.decoder_width,
        num_attention_heads=size.decoder_heads,
        num_queries=size.queries,
        num_labels=size.classes,
    )


def publish(path: Path, state: dict[str, Tensor]) -> Path:
    """Write a checkpoint as OpenMMLab publishes them: with notes, in torch's older form."""
    notes = {"epoch": 50, "CLASSES": ("person", "bicycle"), "config": "model = dict(...)"}
    torch.save({"meta": notes, "state_dict": state}, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are faster so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference() -> Detector:
    return build(SIZE, seed=1)


@pytest.fixture
def checkpoint(reference: Detector, tmp_path: Path) -> Path:
    return publish(tmp_path / "detector.pth", reference.state_dict())


def network(weights: dict[str, Tensor]) -> Mask2FormerForUniversalSegmentation:
    made = Mask2FormerForUniversalSegmentation(config()).eval()
    report = made.load_state_dict(weights, strict=False)
    assert not report.unexpected_keys
    assert all(openmmlab.is_idle(key) for key in report.missing_keys)
    return made


def logits(weights: dict[str, Tensor], pixels: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        out = network(weights).double()(pixel_values=pixels)
    return out.class_queries_logits, out.masks_queries_logits


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    # Neither the sides of the maps nor those of the windows divide each other.
    return torch.randn(
        2, 3, 96, 160, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


def test_converted_weights_give_the_same_logits(
    reference: Detector, checkpoint: Path, pixels: Tensor
) -> None:
    with torch.no_grad():
        classes, masks = build(SIZE, seed=1).double()(pixels)
    found = logits(openmmlab.convert(checkpoint, config()), pixels)
    assert masks.std() > 0.1
    assert classes.std() > 0.1
    torch.testing.assert_close(found[0], classes, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[1], masks, rtol=1e-9, atol=1e-9)


def test_every_part_of_the_conversion_shows_in_the_logits(checkpoint: Path, pixels: Tensor) -> None:
    """The comparison above would notice a part that is in another order."""
    weights = openmmlab.convert(checkpoint, config())
    right = logits(weights, pixels)[1]
    for part in (
        "downsample.reduction.weight",
        "downsample.norm.bias",
        "attention.q_proj.weight",
        "relative_position_bias_table",
        "decoder.level_embed",
        "queries_embedder.weight",
        "self_attn_layer_norm.weight",
        "cross_attn.in_proj_weight",
    ):
        swapped = {key: x.flip(0) if key.endswith(part) else x for key, x in weights.items()}
        assert (logits(swapped, pixels)[1] - right).abs().max() > 1e-3, part


def test_a_patch_merger_is_reordered() -> None:
    torch.manual_seed(0)
    theirs, ours = Merger(3), SwinPatchMerging(3)
    theirs.norm.weight.data.normal_()
    theirs.norm.bias.data.normal_()
    ours.load_state_dict({k: openmmlab.pixel_by_pixel(v) for k, v in theirs.state_dict().items()})
    x_BHWC = torch.randn(2, 5, 6, 3)  # an odd side is padded
    expected = theirs(x_BHWC).flatten(1, 2)
    torch.testing.assert_close(ours(x_BHWC.flatten(1, 2), (5, 6)), expected)
    # By hand: channels 0 and 1 of the pixels (row, column) 00, 01, 10, 11.
    unfolded = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7])
    assert openmmlab.pixel_by_pixel(unfolded).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


def test_window_attention_is_cut_in_thirds() -> None:
    torch.manual_seed(0)
    theirs = WindowAttention(8, 2, 4)
    theirs.relative_position_bias_table.data.normal_()
    backbone = SwinConfig(window_size=4, qkv_bias=True)
    backbone._attn_implementation = "eager"
    ours = SwinAttention(backbone, 8, 2, 4)
    state = theirs.state_dict()
    prefix = "model.pixel_level_module.encoder.swin.encoder.layers.0.blocks.0.attention."
    source = "backbone.stages.0.blocks.0.attn.w_msa."
    taken = {}
    for name in ours.state_dict():
        origin = openmmlab.origin_of(prefix + name)
        taken[name] = origin.take(state[origin.key.removeprefix(source)])
    ours.load_state_dict(taken)
    index = ours.relative_position_bias.relative_position_index.view(16, 16)
    assert torch.equal(index, theirs.relative_position_index)
    x_BNC = torch.randn(3, 16, 8)
    torch.testing.assert_close(ours(x_BNC)[0], theirs(x_BNC, None))


def test_every_name_of_the_published_network_is_known() -> None:
    with torch.device("meta"):
        made = Mask2FormerForUniversalSegmentation(openmmlab.swin_small())
    names = [name for name in made.state_dict() if not openmmlab.is_idle(name)]
    keys = {openmmlab.origin_of(name).key for name in names}
    # 24 blocks with 13 tensors (the position index aside), 3 mergers, 4 norms, the patches; the
    # pixel decoder: 6 layers of 16, 3 inputs of 4, 2 x 3 of the finest map, masks and levels; the
    # head: 9 layers of 18, the norm, 3 embeddings, classes, 3 of masks.
    assert (
        len(keys) == 24 * 13 + 3 * 3 + 4 * 2 + 4 + 6 * 16 + 3 * 4 + 6 + 3 + 9 * 18 + 2 + 3 + 2 + 6
    )
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(68.7e6, rel=1e-3)
    assert openmmlab.origin_of(
        "model.transformer_module.decoder.mask_predictor.mask_embedder.1.0.weight"
    ) == ("panoptic_head.mask_embed.2.weight", openmmlab.Part.WHOLE)
    with pytest.raises(KeyError, match="unheard_of"):
        openmmlab.origin_of("model.unheard_of.weight")


def test_a_missing_a_strange_and_a_misshapen_key_are_named(
    reference: Detector, tmp_path: Path
) -> None:
    state = dict(reference.state_dict())
    key = "panoptic_head.cls_embed.weight"

    def complaint(changed: dict[str, Tensor]) -> str:
        path = publish(tmp_path / "changed.pth", changed)
        with pytest.raises(UserError) as caught:
            openmmlab.convert(path, config())
        assert str(path) in caught.value.message
        return caught.value.message

    assert key in complaint({k: v for k, v in state.items() if k != key})
    assert "backbone.spare" in complaint(state | {"backbone.spare": torch.zeros(2)})
    message = complaint(state | {key: torch.zeros(81, 32)})
    assert key in message
    assert "(81, 32)" in message
    assert "(6, 32)" in message


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    noise = tmp_path / "noise.pth"
    noise.write_bytes(b"not a checkpoint")
    code = tmp_path / "code.pth"
    torch.save({"state_dict": {}, "meta": Path("/")}, code)  # an object that unpickling would build
    bare = tmp_path / "bare.pth"
    torch.save([1, 2], bare)
    for path, words in (
        (cut, "cut off or damaged"),
        (noise, "cut off or damaged"),
        (tmp_path / "absent.pth", "FileNotFoundError"),
        (code, r"more than weights \(pathlib"),
        (bare, "state_dict"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            openmmlab.convert(path, config())
        assert str(path) in caught.value.message


def test_the_result_is_kept_as_safetensors(checkpoint: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = openmmlab.converted(checkpoint, config(), kept)
    (file,) = kept.iterdir()
    assert file.suffix == ".safetensors"
    again = load_file(file)
    assert again.keys() == first.keys()
    assert all(torch.equal(again[key], first[key]) for key in first)
    # The second time the pickle is not read: what is kept is what comes.
    marked = {key: torch.full_like(x, 7) for key, x in first.items()}
    save_file(marked, file)
    second = openmmlab.converted(checkpoint, config(), kept)
    assert all(bool((x == 7).all()) for x in second.values())
    # What was kept for another network is no use.
    save_file({"other": torch.zeros(1)}, file)
    third = openmmlab.converted(checkpoint, config(), kept)
    assert all(torch.equal(third[key], first[key]) for key in first)


def test_a_folder_that_cannot_be_written_is_no_obstacle(checkpoint: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = openmmlab.converted(checkpoint, config(), blocked / "kept")
    assert "class_predictor.weight" in found
