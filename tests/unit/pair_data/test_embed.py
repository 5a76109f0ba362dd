"""Encoders see what their models' own preprocessing would show them; features resume and map."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.pair_sources import FloatArray, picture, understanding

from pairuni_eval.errors import UserError
from pairuni_eval.tiny.world import Scene, Thing, render
from pairuni_train.pair_data.config import EncoderSpec
from pairuni_train.pair_data.embed import Features, embed, normalized, read_features
from pairuni_train.pair_data.encoders import Encoder, TinyEncoder, load_encoder
from pairuni_train.pair_data.rows import RowStore, SourceRow, write_rows

SIZES = ((300, 200), (200, 333), (256, 256), (40, 30))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-50's architecture, narrow and never trained."""
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], layer_type="bottleneck"
    )
    folder = tmp_path_factory.mktemp("resnet")
    ResNetModel(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dinov3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DINOv3's architecture, small and never trained."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    torch.manual_seed(0)
    config = DINOv3ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_register_tokens=4,
        image_size=224,
    )
    folder = tmp_path_factory.mktemp("dinov3")
    DINOv3ViTModel(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images(photographs: dict[str, bytes]) -> list[Image.Image]:
    photo = Image.open(io.BytesIO(photographs["chelsea.png"])).convert("RGB")
    return [photo.resize(size) for size in SIZES]


def load(name: str, folder: Path) -> Encoder:
    return load_encoder(EncoderSpec(name=name, checkpoint=str(folder)))


def stacked(encoder: Encoder, images: Sequence[Image.Image]) -> FloatArray:
    return np.stack([encoder.prepare(image) for image in images])


def test_resnet_sees_what_its_own_processor_shows(resnet: Path, images: list[Image.Image]) -> None:
    from transformers import ResNetModel
    from transformers.models.convnext.image_processing_pil_convnext import (
        ConvNextImageProcessorPil,
    )

    processor = ConvNextImageProcessorPil(  # preprocessor_config.json of microsoft/resnet-50
        size={"shortest_edge": 224},
        crop_pct=0.875,
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    expected = processor(images, return_tensors="pt")["pixel_values"]
    encoder = load("resnet50", resnet)
    pixels = stacked(encoder, images)
    np.testing.assert_allclose(pixels, expected.numpy(), atol=1e-6)
    with torch.no_grad():
        pooled = ResNetModel.from_pretrained(resnet)(expected).pooler_output
    features = encoder.encode(pixels)
    assert features.shape == (4, 32)
    np.testing.assert_allclose(features, pooled.flatten(1).numpy(), atol=1e-5)


def test_dinov3_gives_the_class_token(dinov3: Path, images: list[Image.Image]) -> None:
    from transformers import DINOv3ViTModel

    encoder = load("dinov3", dinov3)
    pixels = stacked(encoder, images)
    assert pixels.shape == (4, 3, 224, 224)
    with torch.no_grad():
        hidden = DINOv3ViTModel.from_pretrained(dinov3)(torch.from_numpy(pixels)).last_hidden_state
    np.testing.assert_allclose(encoder.encode(pixels), hidden[:, 0].numpy(), atol=1e-5)


def test_dinov3_preprocessing_of_a_plain_image(dinov3: Path) -> None:
    # (255, 0, 51) / 255 = (1, 0, .2), minus ImageNet's mean, by its deviation.
    pixels = load("dinov3", dinov3).prepare(Image.new("RGB", (64, 48), (255, 0, 51)))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(pixels.reshape(3, -1).mean(axis=1), expected, atol=1e-5)
    assert pixels.std(axis=(1, 2)).max() < 1e-5


def test_identity_is_that_of_the_weights(resnet: Path, tmp_path: Path) -> None:
    identity = load("resnet50", resnet).identity
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in resnet.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert load("resnet50", copy).identity.key == identity.key
    from safetensors.torch import load_file

    weights = load_file(copy / "model.safetensors")
    first = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[first] = weights[first] + 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load("resnet50", copy).identity.key != identity.key


def test_another_model_is_refused(dinov3: Path) -> None:
    with pytest.raises(UserError, match="a model of the type 'dinov3_vit', not resnet"):
        load("resnet50", dinov3)


def test_pickled_weights_that_are_no_tensors_are_refused(resnet: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((resnet / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="not an archive as torch\\.save writes them"):
        load("resnet50", tmp_path)


def test_an_unknown_encoder_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Unknown encoder 'resnet-50'. Did you mean 'resnet50'\?"):
        load_encoder(EncoderSpec(name="resnet-50"))


def test_the_perception_encoder_names_its_extra() -> None:
    if _has_timm():
        pytest.skip("timm is installed")
    with pytest.raises(UserError, match="needs the package timm") as refused:
        load_encoder(EncoderSpec(name="pe"))
    assert "[pe]'" in (refused.value.hint or "")


def _has_timm() -> bool:
    import importlib.util

    return importlib.util.find_spec("timm") is not None


# The tiny encoder

CIRCLE, SQUARE = Thing("circle", "red", 0, 0), Thing("square", "blue", 0, 1)


def tiny_features(*scenes: Scene) -> FloatArray:
    encoder = TinyEncoder()
    return encoder.encode(stacked(encoder, [render(scene) for scene in scenes]))


def test_tiny_features_are_counts() -> None:
    (counts,) = tiny_features(Scene((CIRCLE, SQUARE)))
    things, shapes, colors = counts[:24], counts[24:28], counts[28:]
    assert np.flatnonzero(things).tolist() == [0, 8]  # circle red; square is 6, blue 2 further
    assert shapes.tolist() == [1, 1, 0, 0]
    assert colors.tolist() == [1, 0, 1, 0, 0, 0]


def test_tiny_features_do_not_see_places_but_what_there_is() -> None:
    here, there = Scene((CIRCLE,)), Scene((Thing("circle", "red", 3, 3),))
    blue = Scene((Thing("circle", "blue", 0, 0),))
    unit = normalized(tiny_features(here, there, blue, Scene(())))
    assert unit[0] @ unit[1] == pytest.approx(1.0)
    # Of thing, shape and color one agrees: 1 / 3.
    assert unit[0] @ unit[2] == pytest.approx(1 / 3)
    assert not unit[3].any()


def test_the_tiny_encoder_has_no_checkpoint() -> None:
    with pytest.raises(UserError, match="has no checkpoint"):
        load_encoder(EncoderSpec(name="tiny", checkpoint="x"))


# Features on the disk


def store(folder: Path, images: Sequence[bytes]) -> RowStore:
    found = (SourceRow(understanding(n, image=image)) for n, image in enumerate(images))
    return write_rows(folder / "rows", "understanding", found, seen=lambda: None)


class Counting(TinyEncoder):
    """Counts the images it encodes; stops after some, as a kill would."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.seen = 0
        self._stop_after = stop_after

    def encode(self, pixels_BCHW: FloatArray) -> FloatArray:
        if self.seen >= self._stop_after:
            raise KeyboardInterrupt
        self.seen += len(pixels_BCHW)
        return super().encode(pixels_BCHW)


Embed = Callable[..., Features]


@pytest.fixture
def embedded(tmp_path: Path) -> Embed:
    def run(images: Sequence[bytes], encoder: Encoder | None = None, name: str = "f") -> Features:
        rows = (
            RowStore(tmp_path / "rows") if (tmp_path / "rows").exists() else store(tmp_path, images)
        )
        path = tmp_path / f"{name}.safetensors"
        return embed(rows, encoder or TinyEncoder(), path, batch_size=3, done=lambda _: None)

    return run


def scene_images(count: int) -> list[bytes]:
    from pairuni_train.pair_data.tiny_rows import understanding_rows

    return [half.image for half in understanding_rows(count, 0)]


def test_features_are_unit_vectors_mapped_from_the_file(embedded: Embed, tmp_path: Path) -> None:
    features = embedded(scene_images(8))
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(tmp_path / "f.safetensors") in maps.read_text()
    assert features.matrix_ND.shape == (8, 34)
    np.testing.assert_allclose(np.linalg.norm(features.matrix_ND, axis=1), 1, atol=1e-6)
    assert features.rows_N.tolist() == list(range(8))
    from safetensors import safe_open

    with safe_open(tmp_path / "f.safetensors", framework="np") as file:
        about = json.loads(file.metadata()["pairuni"])
    assert about["encoder"] == {
        "name": "tiny",
        "weights": "counts/2",
        "preprocessing": "scene shown",
        "checkpoint": "",
    }


def test_broken_images_are_set_aside_with_a_reason(embedded: Embed) -> None:
    whole = picture("red")
    features = embedded([whole, whole[:60], b"no image", whole])
    assert features.rows_N.tolist() == [0, 3]
    assert [reject.where for reject in features.broken] == ["asked u1", "asked u2"]
    assert all(reject.reason.startswith("broken image") for reject in features.broken)


def test_no_image_at_all_is_an_error(embedded: Embed) -> None:
    with pytest.raises(UserError, match="No image of the source could be decoded"):
        embedded([b"nothing", b"at all"])


def test_a_stopped_embedding_goes_on_with_the_next_part(
    embedded: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairuni_train.pair_data.embed._PART", 4)
    images = scene_images(10)
    straight = embedded(images, name="straight")
    with pytest.raises(KeyboardInterrupt):
        embedded(images, Counting(stop_after=6))
    resumed = Counting()
    features = embedded(images, resumed)
    assert resumed.seen == 6  # the part of rows 0 to 3 lay there; 4 to 9 were encoded again
    assert features.matrix_ND.tobytes() == straight.matrix_ND.tobytes()


def test_features_that_are_not_finite_are_refused() -> None:
    bad: Any = np.asarray([[1.0, np.nan]], dtype=np.float32)
    with pytest.raises(ValueError, match="not finite"):
        normalized(bad)


def test_another_file_is_no_features(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((5).to_bytes(8, "little") + b"prose")
    with pytest.raises(UserError, match="not a file of features"):
        read_features(path)
