"""The HPSv2 benchmark: its prompts, its block means, and a real scorer of small size."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from support.fake_judge import drawn, marked, ready
from support.official_tables import style_score
from support.open_clip_reference import Size, write_files

from pairuni_eval.benchmark import Benchmark
from pairuni_eval.catalog import find_card
from pairuni_eval.errors import DatasetError, UserError
from pairuni_eval.grading_models.hps import HpsScorer
from pairuni_eval.records import Item, Status
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate
from pairuni_eval.stats.intervals import estimate

STYLES = ("anime", "concept-art", "paintings", "photo")
WEIGHTS = {"v2.1": "HPS_v2.1_compressed.pt", "v2.0": "HPS_v2_compressed.pt"}


def write_prompts(folder: Path) -> Path:
    (folder / "benchmark").mkdir(parents=True)
    for style in STYLES:
        prompts = [f"the {style} cat", f"a photo of the dog in {style}"]
        (folder / "benchmark" / f"{style}.json").write_text(json.dumps(prompts))
    return folder


def write_weights(folder: Path) -> None:
    """Two versions of a small scorer and their merge list, laid out as the card says."""
    for seed, (version, name) in enumerate(WEIGHTS.items()):
        place = folder / "weights" / version
        write_files(place, Size(), seed=seed, name=name)
        (folder / "weights" / "tokenizer").mkdir(exist_ok=True)
        (place / "merges.txt").replace(folder / "weights" / "tokenizer" / "merges.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_prompts(tmp_path_factory.mktemp("hpsv2"))
    write_weights(folder)
    return folder


@pytest.fixture
def photograph(photographs: dict[str, bytes]) -> Image.Image:
    return Image.open(io.BytesIO(photographs["chelsea.png"])).convert("RGB").resize((48, 40))


# Prompts and scores


def test_keys_are_upstreams_file_names(folder: Path) -> None:
    benchmark, items = ready("hpsv2", folder)
    assert len(items) == 8
    assert items[0].sample.key == "anime/00000"
    assert items[5].sample.key == "paintings/00001"
    assert items[5].sample.text == "a photo of the dog in paintings"
    assert items[5].sample.tags == {"style": "paintings"}
    assert benchmark.card.default_protocol == "v2.1"


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]"])
def test_prompts_of_another_form_are_named(tmp_path: Path, content: str) -> None:
    write_prompts(tmp_path)
    (tmp_path / "benchmark" / "photo.json").write_text(content)
    with pytest.raises(UserError, match=r"photo\.json: expected a list of prompts"):
        ready("hpsv2", tmp_path)


def scores(
    benchmark: Benchmark, items: list[Item], image: Image.Image, version: str
) -> list[float]:
    marks = marked(benchmark, [drawn(item, image) for item in items], None, version)
    return [float(row["score"].value or math.nan) for row in marks]


def test_each_protocol_is_scored_by_its_own_weights(folder: Path, photograph: Image.Image) -> None:
    benchmark, items = ready("hpsv2", folder)
    later, first = (scores(benchmark, items[:3], photograph, v) for v in ("v2.1", "v2.0"))
    assert later != pytest.approx(first, abs=0.1)
    for version, found in (("v2.1", later), ("v2.0", first)):
        files = [folder / "weights" / version, folder / "weights" / "tokenizer"]
        scorer = HpsScorer.load(files, device="cpu")
        texts = [item.sample.text for item in items[:3]]
        cosines = scorer.score([photograph] * 3, texts)
        assert found == pytest.approx([100 * cosine for cosine in cosines], abs=1e-4)
    assert scores(benchmark, items[:3], photograph, "v2.1") == pytest.approx(later, abs=1e-5)


def test_without_weights_rows_are_skipped_and_say_what_to_do(
    tmp_path: Path, photograph: Image.Image
) -> None:
    benchmark, items = ready("hpsv2", write_prompts(tmp_path))
    (marks,) = marked(benchmark, [drawn(items[0], photograph)], None, "v2.0")
    assert (marks["score"].status, marks["score"].value) == (Status.SKIPPED, None)
    assert "no scorer: " in str(marks["score"].verdict)
    assert "HPSv2" in str(marks["score"].verdict)


def test_a_broken_picture_costs_one_row(folder: Path, photograph: Image.Image) -> None:
    benchmark, items = ready("hpsv2", folder)

    def fail(_: str) -> Image.Image:
        raise DatasetError("cut off")

    broken = msgspec.structs.replace(drawn(items[0], photograph), load_image=fail)
    first, second = marked(benchmark, [broken, drawn(items[1], photograph)], None, "v2.1")
    assert (first["score"].status, first["score"].verdict) == (Status.MISSING_OUTPUT, "cut off")
    assert second["score"].status is Status.SCORED


def test_a_picture_that_the_scorer_cannot_take_costs_one_row(
    folder: Path, photograph: Image.Image
) -> None:
    benchmark, items = ready("hpsv2", folder)
    empty = msgspec.structs.replace(
        drawn(items[0], photograph), load_image=lambda _: Image.new("RGB", (0, 0))
    )
    first, second = marked(benchmark, [empty, drawn(items[1], photograph)], None, "v2.1")
    assert first["score"].status is Status.JUDGE_FAILED
    assert second["score"].status is Status.SCORED


def test_a_score_that_is_no_number_is_a_status(folder: Path, photograph: Image.Image) -> None:
    benchmark, items = ready("hpsv2", folder)
    scores(benchmark, items[:1], photograph, "v2.1")  # loads it
    scorer = benchmark._loaded.scorer  # type: ignore[attr-defined]
    scorer._clip._model.text_projection.weight.data[0, 0] = float("inf")
    (marks,) = marked(benchmark, [drawn(items[0], photograph)], None, "v2.1")
    assert marks["score"].status is Status.JUDGE_FAILED
    assert marks["score"].value is None
    assert marks["score"].verdict == "the scorer gave no finite number"


# Arithmetic


def rows_of(values: list[float]) -> GradedRows:
    count = len(values)
    return GradedRows(np.array(values), np.arange(count), np.zeros(count, dtype=np.int64), {})


def style_figure(rows: GradedRows) -> float:
    spec = find_card("hpsv2").protocols["v2.1"].metric("concept_art")
    aggregate = make_aggregate(spec, rows)
    return float(aggregate.finish(aggregate.features(rows).sum(axis=0)))


def test_the_cards_aggregate_is_the_block_mean() -> None:
    assert style_figure(rows_of([0.3] * 80 + [0.1])) == pytest.approx(0.2)
    # Pictures that are missing leave no gap: the blocks close up, as upstream's do.
    gaps = [math.nan, *[0.3] * 79, math.nan, 0.3, 0.1]
    assert style_figure(rows_of(gaps)) == pytest.approx(0.2)
    assert math.isnan(style_figure(rows_of([math.nan])))


def test_the_block_mean_has_an_interval() -> None:
    values = np.random.default_rng(0).normal(0.28, 0.02, size=200).tolist()
    rows = rows_of(values)
    spec = find_card("hpsv2").protocols["v2.1"].metric("concept_art")
    number = estimate(make_aggregate(spec, rows), rows)
    assert number.value == pytest.approx(style_score(values).mean)
    assert number.interval is not None
    assert number.interval.low < number.value < number.interval.high
    assert number.interval.high - number.interval.low < 0.02
