"""Mask2Former as mmdet uses it: what goes in, what comes out, and which files it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.small_detector import build_detector, save_detector
from torch import Tensor
from torch.nn import functional

from pairuni_eval.errors import JudgeError, UserError
from pairuni_eval.grading_models.mask2former import (
    Framing,
    Instances,
    Mask2Former,
    find_instances,
    frame,
    network_input,
    tight_boxes,
)
from pairuni_eval.grading_models.resize import resize_bilinear

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are faster so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Before the network


def test_scaling_is_that_of_opencv() -> None:
    """Expected: cv2.resize of OpenCV 5.0.0, INTER_LINEAR."""
    up = torch.tensor([[[0, 100, 255], [31, 7, 200]]], dtype=torch.uint8)
    assert resize_bilinear(up, (4, 5)).tolist() == [
        [
            [0, 40, 100, 193, 255],
            [8, 35, 77, 175, 241],
            [23, 26, 30, 140, 214],
            [31, 21, 7, 123, 200],
        ]
    ]
    down = torch.arange(0, 256, 17, dtype=torch.uint8).view(1, 4, 4)
    assert resize_bilinear(down, (3, 3)).tolist() == [
        [[14, 37, 59], [105, 128, 150], [195, 218, 241]]
    ]


def test_scaling_is_bilinear_without_antialias() -> None:
    levels = torch.randint(0, 256, (3, 97, 120), generator=torch.Generator().manual_seed(0))
    for size in ((200, 333), (40, 33)):
        ours = resize_bilinear(levels.to(torch.uint8), size).float()
        exact = functional.interpolate(
            levels[None].float(), size=size, mode="bilinear", align_corners=False
        )[0]
        assert (ours - exact).abs().max() < 1.01


@pytest.mark.parametrize(
    ("height", "width", "scaled", "padded"),
    [
        (384, 384, (800, 800), (800, 800)),
        (1024, 1024, (800, 800), (800, 800)),
        (480, 640, (800, 1067), (800, 1088)),  # the short side decides
        (300, 1000, (400, 1333), (416, 1344)),  # the long side decides
        (1000, 300, (1333, 400), (1344, 416)),
    ],
)
def test_pictures_are_scaled_to_fit_and_padded(
    height: int, width: int, scaled: tuple[int, int], padded: tuple[int, int]
) -> None:
    assert frame(height, width) == Framing((height, width), scaled, padded)


def test_the_padding_is_gray_before_it_is_normalized() -> None:
    picture = Image.new("RGB", (640, 480), (255, 0, 100))
    pixels = network_input(picture, CPU)
    assert pixels.shape == (3, 800, 1088)
    inside = [(255 - 123.675) / 58.395, (0 - 116.28) / 57.12, (100 - 103.53) / 57.375]
    border = [(128 - 123.675) / 58.395, (128 - 116.28) / 57.12, (128 - 103.53) / 57.375]
    assert pixels[:, 799, 1066].tolist() == pytest.approx(inside, abs=1e-5)
    assert pixels[:, 0, 1067].tolist() == pytest.approx(border, abs=1e-5)
    gray = network_input(picture.convert("L"), CPU)
    assert gray.shape == pixels.shape


# Behind the network


def square(size: int) -> Framing:
    return Framing((size, size), (size, size), (size, size))


def test_instances_by_hand() -> None:
    # Two queries, two classes and "nothing". Query 0 covers the two pixels of a row with logits 0
    # and 2 (0 is outside), query 1 nothing.
    classes = torch.tensor([[1.0, 0.0, -1.0], [0.0, 3.0, 0.0]])
    masks = torch.full((2, 4, 4), -5.0)
    masks[0, 2, 1], masks[0, 2, 2], masks[0, 1, 2] = 0.0, 2.0, 4.0
    found = find_instances(classes, masks, square(4), limit=4)
    assert found.labels_N.tolist() == [0, 1, 0, 1]  # in the order of query and class
    total = np.exp(1) + 1 + np.exp(-1)
    mean_mask = (1 / (1 + np.exp(-2)) + 1 / (1 + np.exp(-4))) / (2 + 1e-6)
    expected = [np.exp(1) / total * mean_mask, 1 / total * mean_mask, 0.0, 0.0]
    assert found.scores_N.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.boxes_N4.tolist() == [[2, 1, 3, 3], [2, 1, 3, 3], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.masks_NHW.sum(dim=(1, 2)).tolist() == [2, 2, 0, 0]
    # The surest two pairs: class 1 of query 1 (0.91) and class 0 of query 0 (0.67).
    two = find_instances(classes, masks, square(4), limit=2)
    assert two.labels_N.tolist() == [0, 1]
    assert two.scores_N.tolist() == pytest.approx([expected[0], 0.0], abs=1e-6)
    with pytest.raises(RuntimeError):
        find_instances(classes, masks, square(4), limit=5)


def test_masks_are_brought_back_from_the_padded_picture() -> None:
    # Logits at a quarter of 32 x 64; the picture fills the left 32 x 40 of it and was 64 x 80.
    logits = torch.full((1, 8, 16), -1.0)
    logits[0, :, :5] = 1.0
    framing = Framing((64, 80), (32, 40), (32, 64))
    found = find_instances(torch.tensor([[9.0, 0.0]]), logits, framing, limit=1)
    # The border is where +1 and -1 meet: after 5 of 16 cells, i.e. 20 of 64 pixels, i.e. 40 of 80.
    assert found.boxes_N4.tolist() == [[0, 0, 40, 64]]
    assert found.masks_NHW.shape == (1, 64, 80)
    assert int(found.masks_NHW.sum()) == 40 * 64


def test_what_is_too_improbable_to_matter_is_left_out_and_nothing_else() -> None:
    draw = torch.Generator().manual_seed(0)
    classes = torch.randn(6, 11, generator=draw) * 3
    masks = torch.randn(6, 7, 9, generator=draw)
    framing = Framing((20, 24), (28, 34), (28, 36))
    every = find_instances(classes, masks, framing, limit=40)
    some = find_instances(classes, masks, framing, limit=40, least=0.3)
    sure = every.scores_N >= 0.3
    assert 0 < int(sure.sum()) < len(some.labels_N) < 40
    kept = some.scores_N >= 0.3
    for ours, full in zip(some, every, strict=True):
        torch.testing.assert_close(ours[kept], full[sure])
    none = find_instances(classes, masks, framing, limit=40, least=1.1)
    assert [len(part) for part in none] == [0, 0, 0, 0]
    assert none.masks_NHW.shape == (0, 20, 24)


def test_tight_boxes() -> None:
    masks = torch.zeros(3, 5, 6, dtype=torch.bool)
    masks[0, 1:4, 2] = True
    masks[1, 4, 5] = True
    assert tight_boxes(masks).tolist() == [[2, 1, 3, 4], [5, 4, 6, 5], [0, 0, 0, 0]]


# Both


def detector(batch_size: int = 1) -> Mask2Former:
    return Mask2Former(build_detector(), batch_size=batch_size)


def pictures() -> list[Image.Image]:
    """Two of one shape, one of another, one of the first again; each different."""
    draw = np.random.default_rng(0)
    sizes = ((6, 6), (9, 9), (20, 5), (6, 6))
    return [Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def test_batches_change_neither_order_nor_results() -> None:
    shown = pictures()
    single = detector()
    alone = [next(single.detect([picture])) for picture in shown]
    together = list(detector(batch_size=2).detect(iter(shown)))
    assert [picture for picture, _ in together] == shown
    for (_, one), (_, other), picture in zip(alone, together, shown, strict=True):
        assert one.masks_NHW.shape == (100, picture.height, picture.width)
        assert torch.equal(one.labels_N, other.labels_N)
        torch.testing.assert_close(one.scores_N, other.scores_N, atol=1e-5, rtol=0)
    assert torch.equal(next(detector().detect(shown))[1].scores_N, alone[0][1].scores_N)


def test_detection_is_the_network_between_the_two_rules() -> None:
    (picture,) = pictures()[:1]
    network = build_detector()
    with torch.no_grad():
        out = network(pixel_values=network_input(picture, CPU)[None])
    by_hand = find_instances(out.class_queries_logits[0], out.masks_queries_logits[0], frame(6, 6))
    _, found = next(detector().detect([picture]))
    for ours, theirs in zip(found, by_hand, strict=True):
        assert torch.equal(ours, theirs)
    assert int((found.scores_N > 0.3).sum()) > 0


# Files


def loaded(folder: Path, classes: int = 80) -> Mask2Former:
    return Mask2Former.load(sorted(folder.iterdir()), device="cpu", classes=classes)


def same(one: Instances, other: Instances) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_folder_of_transformers_is_loaded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save_detector(tmp_path / "weights")
    capfd.readouterr()
    made = loaded(folder)
    assert capfd.readouterr() == ("", "")
    (picture,) = pictures()[:1]
    assert same(next(made.detect([picture]))[1], next(detector().detect([picture]))[1])


def test_weights_from_before_the_norm_of_the_last_stage_are_loaded(tmp_path: Path) -> None:
    """The published files lack a norm that no feature passes, and hold the position index."""
    file = save_detector(tmp_path / "weights") / "model.safetensors"
    held = {key: x for key, x in load_file(file).items() if "swin.layernorm" not in key}
    index = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self."
    held[index + "relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    save_file(held, file, metadata={"format": "pt"})
    (picture,) = pictures()[:1]
    assert same(
        next(loaded(file.parent).detect([picture]))[1], next(detector().detect([picture]))[1]
    )


def changed(folder: Path, **changes: Tensor | None) -> None:
    """Replace weights, or take them out."""
    file = folder / "model.safetensors"
    held: dict[str, Tensor | None] = load_file(file) | changes
    kept = {key: x for key, x in held.items() if x is not None}
    save_file(kept, file, metadata={"format": "pt"})


KEY = "class_predictor.bias"


def test_weights_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "weights")
    for value, words in (
        (None, f"'{KEY}' is missing"),
        (torch.zeros(5), f"'{KEY}' has another shape"),
        (torch.full((81,), float("nan")), f"'{KEY}' holds numbers that are not finite"),
    ):
        changed(folder, **{KEY: value})
        with pytest.raises(UserError, match=words) as caught:
            loaded(folder)
        assert str(folder) in caught.value.message


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "weights", classes=7)
    with pytest.raises(UserError, match="a detector of 7 classes, expected 80"):
        loaded(folder)
    config = json.loads((folder / "config.json").read_text())
    for table, words in (
        ({"model_type": "janus"}, "model_type is 'janus', expected 'mask2former'"),
        (config | {"num_queries": "many"}, "num_queries"),
    ):
        (folder / "config.json").write_text(json.dumps(table))
        with pytest.raises(UserError, match=words):
            loaded(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        loaded(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_detector_that_computes_no_numbers_finds_not_nothing(
    tmp_path: Path, value: float
) -> None:
    """NaN is below every threshold: the picture would be graded as one that shows nothing."""
    detector = loaded(save_detector(tmp_path / "weights", classes=80))
    detector._network.class_predictor.bias.data[3] = value
    with pytest.raises(JudgeError, match="the detector gave no finite numbers"):
        list(detector.detect([Image.new("RGB", (32, 32))]))
