"""GenEval with its models: what it looks at, what it grades, and what it says without weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from support import geneval_rows
from support.official_tables import Graded, summarize
from support.small_detector import (
    CLIP_VOCABULARY,
    build_clip,
    build_detector,
    save_clip,
    save_detector,
    save_weights,
)
from torch.nn import functional

from pairuni_eval.benchmark import Answer, MetricValue
from pairuni_eval.cards import MetricSpec
from pairuni_eval.catalog import find_card, load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.errors import DatasetError, UserError
from pairuni_eval.grading_models.clip import ClipTowers
from pairuni_eval.grading_models.clip_image import cropped_square
from pairuni_eval.grading_models.clip_text import TRANSFORMERS, load_tokenizer, merges_file
from pairuni_eval.grading_models.colors import ColorNamer, CutOutObject, cut_out, templates
from pairuni_eval.grading_models.detector import Observer
from pairuni_eval.grading_models.mask2former import Mask2Former
from pairuni_eval.records import ImagePart, Item, Output, Status
from pairuni_eval.scorers import objects
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

FEW = {"tag": "colors", "include": [{"class": "car", "count": 2, "color": "red"}]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are faster so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for --data with a small detector and a small CLIP, and a few prompts."""
    return geneval_rows.write(save_weights(tmp_path_factory.mktemp("data")), 12)


# The rules know before what they will ask


def found(name: str, *scores: float) -> dict[str, list[objects.CountedObject]]:
    box = np.array([0, 0, 9, 9], dtype=np.float32)
    return {name: [objects.CountedObject(box, score, place) for place, score in enumerate(scores)]}


def test_colors_are_asked_of_the_surest_objects_of_a_color_clause() -> None:
    car = found("car", 0.9, 0.8, 0.7)
    assert objects.color_questions(FEW, car) == [("car", car["car"][:2])]
    assert objects.color_questions(FEW, found("car", 0.9)) == []  # too few: never asked
    assert objects.color_questions({"include": [{"class": "car", "count": 1}]}, car) == []


def test_what_is_announced_is_what_is_asked() -> None:
    """Over prompts of every task: the colors asked for are the colors announced, in order."""
    rng = np.random.default_rng(0)
    asked_of_any = 0
    for prompt in geneval_rows.rows(552):
        seen: dict[str, list[objects.CountedObject]] = {}
        for wanted in prompt["include"]:
            seen |= found(wanted["class"], *sorted(rng.random(rng.integers(0, 4)), reverse=True))
        asked: list[tuple[str, Sequence[objects.CountedObject]]] = []

        def color_of(
            name: str, things: Sequence[objects.CountedObject], asked: list[Any] = asked
        ) -> list[str]:
            asked.append((name, things))
            return ["red"] * len(things)

        objects.evaluate(prompt, seen, color_of)
        assert objects.color_questions(prompt, seen) == asked
        asked_of_any += len(asked)
    assert asked_of_any > 100


# Colors


def test_colors_are_those_of_clip_composed_by_hand(weights: Path) -> None:
    clip = build_clip()  # the same seed, the same weights
    files = sorted((weights / "weights" / "clip").iterdir())
    namer = ColorNamer.load(files, device="cpu")
    draw = np.random.default_rng(0)
    cuts = [
        Image.fromarray(draw.integers(0, 256, (30 + n, 50, 3), dtype=np.uint8)) for n in range(5)
    ]
    names = ["car", "tv remote", "car", "bird", "bird"]
    tokens = load_tokenizer(
        merges_file(files), TRANSFORMERS, vocabulary=CLIP_VOCABULARY, context_length=77
    )
    expected = []
    with torch.no_grad():
        for cut, name in zip(cuts, names, strict=True):
            image = clip.get_image_features(pixel_values=cropped_square(cut, 32)[None])
            image_D = functional.normalize(image.pooler_output, dim=-1)[0]
            cosines = []
            for color in objects.COLORS:
                sentences = [
                    f"a photo of a {color} {name}",
                    f"a photo of a {color}-colored {name}",
                    f"a photo of a {color} object",
                ]
                text = clip.get_text_features(input_ids=tokens(sentences)).pooler_output
                mean_D = functional.normalize(text, dim=-1).mean(dim=0)
                cosines.append(float(image_D @ mean_D / mean_D.norm()))
            expected.append(objects.COLORS[int(np.argmax(cosines))])
    things = [CutOutObject(name, namer.pixels(cut)) for cut, name in zip(cuts, names, strict=True)]
    assert namer.name(things) == expected
    assert len(set(expected)) > 1
    assert namer.name([]) == []
    loaded = ClipTowers.load(files, device="cpu", text_rule=TRANSFORMERS)
    assert ColorNamer(loaded, batch_size=2).name(things) == expected


def test_the_sentences_of_a_color() -> None:
    assert templates("tv remote") == (
        "a photo of a {c} tv remote",
        "a photo of a {c}-colored tv remote",
        "a photo of a {c} object",
    )


def test_an_object_is_cut_out_on_gray() -> None:
    picture = Image.new("RGB", (4, 3), (10, 20, 30))
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 1] = mask[2, 2] = True
    cut = np.asarray(cut_out(picture, np.array([1, 1, 3, 3], dtype=np.float32), mask))
    own, gray = [10, 20, 30], [153, 153, 153]
    assert cut.tolist() == [[own, gray], [gray, own]]
    with pytest.raises(AssertionError, match="not of this picture"):
        cut_out(picture, (0, 0, 2, 2), mask.T)


# The observer


def shown(count: int) -> list[Image.Image]:
    draw = np.random.default_rng(1)
    return [Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(count)]


def test_pictures_are_judged_by_what_the_networks_find_in_them(weights: Path) -> None:
    folder = weights / "weights"
    namer = ColorNamer.load(sorted((folder / "clip").iterdir()), device="cpu")
    files = sorted((folder / "detector").iterdir())
    eyes = Observer(Mask2Former.load(files, device="cpu", classes=80), namer)
    pictures = shown(2)
    instances = [one for _, one in Mask2Former(build_detector(), batch_size=1).detect(pictures)]
    surest = int(instances[0].scores_N.argmax())
    name = objects.OBJECT_NAMES[int(instances[0].labels_N[surest])]
    mask = instances[0].masks_NHW[surest].numpy()
    cut = cut_out(pictures[0], instances[0].boxes_N4[surest].tolist(), mask)
    (color,) = namer.name([CutOutObject(name, namer.pixels(cut))])
    other = next(c for c in objects.COLORS if c != color)

    def verdict(color: str) -> list[objects.Judgment]:
        prompt = {"tag": "colors", "include": [{"class": name, "count": 1, "color": color}]}
        sights = eyes.observe(pictures, [prompt] * len(pictures))
        return [objects.judge(prompt, sight) for sight in sights]

    assert verdict(color)[0].correct
    wrong = verdict(other)[0]
    assert not wrong.correct
    assert wrong.reason == f"expected {other} {name}>=1, found 0 {other}; and 1 {color}"
    # Nothing above the threshold is lost, and classes are known by their number.
    (sight, *_) = eyes.observe(pictures, [{"tag": "counting", "include": []}] * 2)
    for label, score in zip(instances[0].labels_N, instances[0].scores_N.tolist(), strict=True):
        if score > 0.3:
            rows = sight.detections[objects.OBJECT_NAMES[int(label)]]
            assert any(row[4] == pytest.approx(score, abs=1e-6) for row in rows)


# The benchmark


def answer(item: Item, image: Image.Image | DatasetError, number: int = 0) -> Answer:
    output = Output(
        id=f"o{number}", sample=item.sample.uid, draw=0, seed=0, decoding="d",
        parts=(ImagePart("picture"),),
    )  # fmt: skip

    def load(_: str) -> Image.Image:
        if isinstance(image, DatasetError):
            raise image
        return image

    return Answer(item.sample, output, load)


def marks(
    data: Path | None, images: Sequence[Image.Image | DatasetError]
) -> dict[str, list[MetricValue]]:
    """The marks of pictures of one prompt by protocol, with the weights of a folder for --data."""
    benchmark = load_benchmark("geneval")
    row = geneval_rows.rows(1)[0]
    item = benchmark.item(key="00000", parts=(row["prompt"],), reference=row)
    benchmark.equip(Data(benchmark.card, benchmark.folder, data), device="cpu")
    answers = [answer(item, image, number) for number, image in enumerate(images)]
    return {
        protocol: [mark for (mark,) in benchmark.score(answers, protocol=protocol, judge=None)]
        for protocol in benchmark.card.protocols
    }


def test_without_weights_rows_are_skipped_with_what_to_do(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        found = marks(data, shown(2))
        assert [mark.status for mark in found["official"] + found["hf"]] == [Status.SKIPPED] * 4
        assert all(mark.value is None for mark in found["official"])
        assert "tsbpp/geneval_mask2former" in (found["official"][0].verdict or "")
        assert "DIR/weights/detector/" in (found["official"][0].verdict or "")
        assert "facebook/mask2former-swin-small-coco-instance" in (found["hf"][0].verdict or "")
        assert "DIR/weights/detector_hf/" in (found["hf"][0].verdict or "")


def test_weights_that_are_damaged_are_a_reason_too(tmp_path: Path) -> None:
    save_weights(tmp_path)
    (tmp_path / "weights" / "detector" / "model.safetensors").write_bytes(b"half of it")
    (mark,) = marks(tmp_path, shown(1))["official"]
    assert mark.status is Status.SKIPPED
    assert "model.safetensors: cut off or damaged" in (mark.verdict or "")


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path)
    name = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.pth"
    (tmp_path / "weights" / "detector" / name).write_bytes(b"another training")
    (mark,) = marks(tmp_path, shown(1))["official"]
    assert mark.status is Status.SKIPPED
    assert f"{name}: SHA-256 is" in (mark.verdict or "")


def test_one_bad_picture_costs_one_row(weights: Path) -> None:
    # The third is scaled to no height at all, which no network can take.
    images = [*shown(1), DatasetError("truncated"), Image.new("RGB", (4000, 1)), *shown(1)]
    found = marks(weights, images)["official"]
    assert [mark.status for mark in found] == [
        Status.SCORED,
        Status.MISSING_OUTPUT,
        Status.JUDGE_FAILED,
        Status.SCORED,
    ]
    assert found[1].verdict == "truncated"
    assert found[0] == found[3]


def test_the_two_detectors_are_never_mixed_up(tmp_path: Path) -> None:
    save_detector(tmp_path / "weights" / "detector_hf")
    save_clip(tmp_path / "weights" / "clip")
    found = marks(tmp_path, shown(1))
    assert found["official"][0].status is Status.SKIPPED
    assert found["hf"][0].status is Status.SCORED
    card = find_card("geneval")
    assert card.default_protocol == "official"
    assert card.weights["detector_hf"].hub is None  # a run never fetches it
    assert "OpenMMLab" in card.protocols["official"].summary
    assert "Meta" in card.protocols["hf"].summary


@pytest.mark.slow  # all big benchmarks in one command have GenEval among them
def test_a_run_grades_pictures_from_end_to_end(
    cli: Any, untrained: Path, weights: Path, tmp_path: Path
) -> None:
    import pandas as pd

    ran = cli(
        "run",
        *("--checkpoint", untrained, "--benchmarks", "geneval", "--limit", 2),
        *("--data", weights, "--out", "run", "--report", "report"),
    )
    assert ran.code == 0, ran.err
    scores = pd.read_parquet(tmp_path / "run" / "scores.parquet")
    official = scores[scores["protocol"] == "geneval@official"]
    assert len(official) == 8
    assert set(official["status"]) == {"scored"}
    assert set(official["scorer"]) == {"objects/1"}
    assert official["value"].isin([0.0, 1.0]).all()
    assert set(scores[scores["protocol"] == "geneval@hf"]["status"]) == {"skipped"}
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    metrics = summary["benchmarks"]["geneval"]["protocols"]["official"]["metrics"]
    right = official.set_index("output")["value"]
    assert metrics["images"]["value"] == pytest.approx(right.mean())
    # The random detector never sees what these prompts ask for.
    assert metrics["prompts"]["value"] == 0.0
    assert metrics["prompts"]["clusters"] == 2


# Long prompts


def test_long_prompts_are_a_benchmark_of_their_own(tmp_path: Path) -> None:
    benchmark = load_benchmark("geneval-long")
    short = find_card("geneval")
    assert benchmark.card.protocols.keys() == short.protocols.keys()
    assert benchmark.card.weights == short.weights
    with pytest.raises(UserError, match=r"evaluation_metadata_long\.jsonl"):
        list(benchmark.samples(Data(benchmark.card, benchmark.folder, tmp_path)))
    file = tmp_path / "evaluation_metadata_long.jsonl"
    row = {"tag": "single_object", "include": [{"class": "cow", "count": 1}], "prompt": "A cow ..."}
    file.write_text((json.dumps(row) + "\n") * 553)
    with pytest.raises(UserError, match="another version of the file"):
        list(benchmark.samples(Data(benchmark.card, benchmark.folder, tmp_path)))
    file.write_text(json.dumps(row) + "\n")
    (item,) = benchmark.samples(Data(benchmark.card, benchmark.folder, tmp_path))
    assert item.sample.benchmark == "geneval-long"
    assert (item.sample.key, item.sample.text) == ("00000", "A cow ...")
    assert item.sample.tags == {"task": "single_object"}


# Prompts with any right picture


def rows(value: list[float], unit: list[int]) -> GradedRows:
    draw = [unit[:place].count(one) for place, one in enumerate(unit)]
    return GradedRows(np.array(value), np.array(unit), np.array(draw), {})


def share_of_prompts(given: GradedRows) -> float:
    made = make_aggregate(MetricSpec(name="prompts", aggregate="any_of_unit"), given)
    return float(made.finish(made.features(given).sum(axis=0)))


def test_a_prompt_counts_when_any_of_its_pictures_is_right() -> None:
    # Prompts 0 and 2 have a right picture, 1 has none.
    given = rows([0, 1, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2])
    assert share_of_prompts(given) == pytest.approx(2 / 3)
    # A prompt with a lost picture is in neither count: 1 of 2.
    lost = rows([1, math.nan, 0, 0, 1, 0], [0, 0, 1, 1, 2, 2])
    assert share_of_prompts(lost) == pytest.approx(1 / 2)
    assert math.isnan(share_of_prompts(rows([math.nan], [0])))


def test_the_share_of_prompts_is_that_of_the_official_summary() -> None:
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(50), 4)
    right = rng.random(200) < 0.3
    graded = [
        Graded("counting", str(prompt), bool(correct))
        for prompt, correct in zip(unit, right, strict=True)
    ]
    given = rows(right.astype(float).tolist(), unit.tolist())
    assert share_of_prompts(given) == pytest.approx(summarize(graded).prompt_share)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"tag": "counting"}, "Object missing required field `prompt`"),
        ({"tag": 1, "prompt": "x"}, r"Expected `str`, got `int` - at `\$\.tag`"),
        (
            {"include": [{"class": "cow"}]},
            r"missing required field `count` - at `\$\.include\[0\]`",
        ),
        ({"include": [{"class": "cow", "count": 10**9}]}, "<= 1000"),
        (
            {"include": [{"class": "cow", "count": 1, "position": ["above", 0]}]},
            "include 0 stands beside a clause that is not before it",
        ),
    ],
)
def test_a_row_of_another_form_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    whole = {"prompt": "x", "tag": "position"} | row if "include" in row else row
    (tmp_path / "evaluation_metadata.jsonl").write_text(json.dumps(whole) + "\n")
    benchmark = load_benchmark("geneval")
    benchmark.card = msgspec.structs.replace(
        benchmark.card, data=msgspec.structs.replace(benchmark.card.data, sha256={})
    )
    with pytest.raises(UserError, match=rf"evaluation_metadata\.jsonl, row 1: .*{told}"):
        list(benchmark.samples(benchmark.data(tmp_path)))
