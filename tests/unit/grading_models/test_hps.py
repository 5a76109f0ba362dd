"""HPSv2's scores equal its own code's; CLIPScore and PickScore are other settings of it."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.open_clip_reference import MERGES, Size, build, write_files
from torch.nn import functional

from pairuni_eval.errors import UserError
from pairuni_eval.grading_models.clip_image import cropped_square, padded_square
from pairuni_eval.grading_models.clip_text import OPEN_CLIP, TRANSFORMERS, ClipTokenizer, TextRule
from pairuni_eval.grading_models.clipscore import ClipScorer
from pairuni_eval.grading_models.hps import HpsScorer
from pairuni_eval.grading_models.pickscore import PickScorer

SIZE = Size()
PAIRS = [(left, right) for left, right in (merge.split() for merge in MERGES)]
NAMES = ("astronaut.png", "chelsea.png", "coffee.png")
TEXTS = (
    "a photo of the cat and the dog",
    "The dog\u2019s \u201ccoffee\u201d  &amp;amp; r\u00f6st",
    "rocket in the night ... " * 20,
    "",
)
# Recorded from HPSv2's own model, transform and tokenizer (hpsv2 1.2.0, torchvision 0.29.2, float32
# on the CPU) with the weights of `build(Size(), 7)`: a row per picture, a column per text.
RECORDED = (
    (0.13679558, 0.40244901, 0.27597660, 0.14220043),
    (0.24708691, 0.47082955, 0.41147685, 0.27278394),
    (-0.01126114, 0.07568103, -0.02706880, -0.19332299),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_files(tmp_path_factory.mktemp("weights"), SIZE, seed=7, name="HPS_v2.1.pt")


@pytest.fixture(scope="module")
def scorer(files: list[Path]) -> HpsScorer:
    return HpsScorer.load(files, device="cpu")


@pytest.fixture
def pictures(photographs: dict[str, bytes]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(photographs[name])) for name in NAMES]


def every_pair(pictures: list[Image.Image]) -> tuple[list[Image.Image], list[str]]:
    return [picture for picture in pictures for _ in TEXTS], list(TEXTS) * len(pictures)


def test_scores_equal_those_of_the_official_code(
    scorer: HpsScorer, pictures: list[Image.Image]
) -> None:
    scores = scorer.score(*every_pair(pictures))

    assert scores == pytest.approx([score for row in RECORDED for score in row], abs=1e-5)


def test_scores_do_not_depend_on_the_batch_or_the_neighbors(
    files: list[Path], pictures: list[Image.Image]
) -> None:
    images, texts = every_pair(pictures)
    whole = HpsScorer.load(files, device="cpu").score(images, texts)

    for size in (1, 5, 12):
        parts = HpsScorer.load(files, device="cpu", batch_size=size).score(images, texts)
        assert parts == pytest.approx(whole, abs=1e-6)
    turned = HpsScorer.load(files, device="cpu").score(images[::-1], texts[::-1])
    assert turned[::-1] == pytest.approx(whole, abs=1e-6)


def test_the_same_call_gives_the_same_bits(scorer: HpsScorer, pictures: list[Image.Image]) -> None:
    pairs = every_pair(pictures)

    assert scorer.score(*pairs) == scorer.score(*pairs)


def test_an_autocast_around_changes_nothing(scorer: HpsScorer, pictures: list[Image.Image]) -> None:
    pairs = every_pair(pictures)
    alone = scorer.score(*pairs)

    with torch.autocast("cpu", torch.bfloat16):
        assert scorer.score(*pairs) == alone


def test_low_precision_towers_give_scores_that_are_not_rounded(
    files: list[Path], pictures: list[Image.Image]
) -> None:
    coarse = HpsScorer.load(files, device="cpu", dtype="bfloat16")

    scores = coarse.score(*every_pair(pictures))

    assert scores == pytest.approx([score for row in RECORDED for score in row], abs=0.05)
    # A product in bfloat16 would give numbers that bfloat16 can hold.
    assert torch.tensor(scores).bfloat16().double().tolist() != scores
    assert coarse.version == "hps/1 HPS_v2.1.pt bfloat16"


def test_no_pair_gives_no_score(scorer: HpsScorer) -> None:
    assert scorer.score([], []) == []


def test_as_many_texts_as_images(scorer: HpsScorer, pictures: list[Image.Image]) -> None:
    with pytest.raises(ValueError, match="3 images, but 2 texts"):
        scorer.score(pictures, ["a", "b"])


def test_a_batch_holds_at_least_one(files: list[Path]) -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        HpsScorer.load(files, device="cpu", batch_size=0)


def test_the_published_file_alone_is_taken_for_a_vit_h_14(files: list[Path]) -> None:
    """Small weights under the published file's conditions are refused by the first shape."""
    with pytest.raises(UserError) as refused:
        HpsScorer.load([files[0], files[2]], device="cpu")

    assert f"{files[0]}: 'visual.transformer.resblocks.2." in refused.value.message
    assert "of the published model is missing" in refused.value.message


def test_a_truncated_checkpoint_is_refused_by_name(files: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "HPS_v2_compressed.pt"
    cut.write_bytes(files[0].read_bytes()[:-1000])

    with pytest.raises(UserError, match=r"HPS_v2_compressed\.pt: cut off or damaged"):
        HpsScorer.load([cut, *files[1:]], device="cpu")


# The other rules


def cosines(
    pictures: list[Image.Image], texts: list[str], square: object, rule: TextRule
) -> list[float]:
    """The plain OpenCLIP's cosines with pictures and texts prepared by hand."""
    assert callable(square)
    model = build(SIZE, 7)
    with torch.no_grad():
        images = model.images(torch.stack([square(picture, 32) for picture in pictures]))
        features = model.texts(ClipTokenizer(PAIRS, rule)(texts))
    return functional.cosine_similarity(images, features).tolist()


def test_clipscore_is_2_5_times_the_positive_cosine_of_a_caption(
    files: list[Path], pictures: list[Image.Image]
) -> None:
    flat = [Image.new("RGB", (40, 30), color) for color in ("red", "blue", "white")]
    images, texts = every_pair(pictures + flat)
    captions = [f"A photo depicts {text}" for text in texts]
    plain = cosines(images, captions, cropped_square, OPEN_CLIP)
    assert min(plain) < -0.01 < 0.01 < max(plain)

    scores = ClipScorer.load(files, device="cpu").score(images, texts)

    assert scores == pytest.approx([2.5 * max(value, 0.0) for value in plain], abs=1e-5)


def test_pickscore_is_the_logit(files: list[Path], pictures: list[Image.Image]) -> None:
    pictures = [picture.convert("RGB").resize((39, 32)) for picture in pictures]  # 7 columns over

    def from_the_third(picture: Image.Image, size: int) -> torch.Tensor:
        return cropped_square(picture.crop((3, 0, 35, 32)), size)

    plain = cosines(pictures, list(TEXTS[:3]), from_the_third, TRANSFORMERS)

    scores = PickScorer.load(files, device="cpu").score(pictures, TEXTS[:3])

    assert scores == pytest.approx([math.exp(3.0) * value for value in plain], abs=1e-4)


def test_the_rules_are_told_apart(files: list[Path], pictures: list[Image.Image]) -> None:
    text = [TEXTS[1]]

    padded = cosines(pictures[2:], text, padded_square, OPEN_CLIP)[0]
    cropped = cosines(pictures[2:], text, cropped_square, OPEN_CLIP)[0]
    other_words = cosines(pictures[2:], text, cropped_square, TRANSFORMERS)[0]

    assert padded == pytest.approx(RECORDED[2][1], abs=1e-5)
    assert abs(padded - cropped) > 1e-3
    assert abs(cropped - other_words) > 1e-3
