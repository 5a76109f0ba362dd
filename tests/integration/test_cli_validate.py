"""`pairuni-eval validate`: a benchmark's check of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pairuni_eval import catalog
from pairuni_eval.benchmark import MetricValue
from pairuni_eval.records import Status
from pairuni_eval.runner.validate import validate

# Gold letters: A twice, B and C once. Categories: coarse (A, A, B) and math (C).
STAR = [("A", "coarse perception"), ("A", "coarse perception"), ("B", "coarse perception")]
STAR += [("C", "math")]


def star_row(number: int, photographs: Mapping[str, bytes]) -> dict[str, Any]:
    gold, category = STAR[number]
    return {
        "index": number,
        "question": f"Question {number}? A: a, B: b, C: c",
        "image": {"bytes": photographs["coffee.png"], "path": None},
        "answer": gold,
        "category": category,
        "l2_category": category,
        "meta_info": {"source": "test", "split": "val", "image_path": ""},
    }


@pytest.fixture
def star(tmp_path: Path, photographs: dict[str, bytes], write_mmstar: Any) -> Path:
    write_mmstar(tmp_path / "data", [star_row(i, photographs) for i in range(len(STAR))])
    return tmp_path / "data"


def checks(ran: Any) -> dict[str, tuple[bool | None, str]]:
    return {c["name"]: (c["passed"], c["words"]) for c in json.loads(ran.out)["checks"]}


def floors(ran: Any) -> dict[tuple[str, str], float]:
    found = json.loads(ran.out)["floors"]
    return {(floor["protocol"], floor["answer"]): floor["value"] for floor in found}


def test_images_that_are_none_are_named_with_the_reason(cli: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [star_row(i, {"coffee.png": b""}) for i in range(2)]
    rows[0]["image"], rows[1]["image"] = "https://example.org/a.png", "../a.png"
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "mmstar.parquet")
    ran = cli("validate", "mmstar", "--data", tmp_path / "data", "--limit", 9, "--json")
    passed, words = checks(ran)["images"]
    assert passed is False
    place = "mmstar.parquet, column image:"
    assert words == (
        f"of 2 samples cannot be read: 0 ({place} 'https://example.org/a.png' is a URL; nothing is "
        f"fetched), 1 ({place} '../a.png' leads out of the dataset's folder)"
    )


def test_gold_scores_full_and_floors_are_those_worked_out_by_hand(cli: Any, star: Path) -> None:
    ran = cli("validate", "mmstar", "--data", star, "--limit", 1500, "--json")
    assert ran.code == 0, ran.out + ran.err
    found = checks(ran)
    for protocol in ("official", "lmms-eval"):
        assert found[f"gold under {protocol}"] == (True, "4 of 4 score full")
        words = "4 unparsed; correct is 0.000 on average"
        assert found[f"empty answer under {protocol}"] == (True, words)
    assert found["images"] == (True, "1 different images, all readable")
    assert found["samples"][0] is None  # nothing is counted under --limit
    # official: the share of rows. lmms-eval: the mean of coarse (2/3, 1/3, 0) and math (0, 0, 1).
    expected = {
        ("official", "A"): pytest.approx(2 / 4),
        ("official", "B"): pytest.approx(1 / 4),
        ("official", "C"): pytest.approx(1 / 4),
        ("lmms-eval", "A"): pytest.approx((2 / 3 + 0) / 2),
        ("lmms-eval", "B"): pytest.approx((1 / 3 + 0) / 2),
        ("lmms-eval", "C"): pytest.approx((0 + 1) / 2),
    }
    assert {place: floors(ran)[place] for place in expected} == expected


def test_a_wrong_number_of_samples_fails(cli: Any, star: Path) -> None:
    ran = cli("validate", "mmstar", "--data", star)
    assert ran.code == 1
    assert "FAILED  samples: 4 of 1500 that the card expects" in ran.out
    assert "mmstar: failed: samples" in ran.out
    assert ran.next == f"pairuni-eval run --checkpoint tiny --benchmarks mmstar --data {star}"


def test_an_image_that_cannot_be_read_fails(
    cli: Any, tmp_path: Path, photographs: dict[str, bytes], write_mmstar: Any
) -> None:
    cut = {"bytes": photographs["coffee.png"][:300], "path": None}
    rows = [star_row(0, photographs), {**star_row(1, photographs), "image": cut}]
    write_mmstar(tmp_path / "data", rows)
    ran = cli("validate", "mmstar", "--data", tmp_path / "data", "--limit", 9, "--json")
    assert ran.code == 1
    passed, words = checks(ran)["images"]
    assert passed is False
    assert words.startswith("of 1 samples cannot be read: 1 (")


def test_a_key_that_occurs_twice_fails(
    cli: Any, tmp_path: Path, photographs: dict[str, bytes], write_mmstar: Any
) -> None:
    rows = [star_row(0, photographs), star_row(1, photographs), star_row(0, photographs)]
    write_mmstar(tmp_path / "data", rows)
    ran = cli("validate", "mmstar", "--data", tmp_path / "data", "--limit", 9, "--json")
    assert ran.code == 1
    assert checks(ran)["keys"] == (False, "1 keys occur twice (0), 1 samples are equal")


def test_what_an_empty_answer_is_under_each_protocol_is_told(cli: Any) -> None:
    ran = cli("validate", "tiny-pope", "--json")
    assert ran.code == 0, ran.out
    found = checks(ran)
    # Officially everything unreadable is a yes; 141 of the 296 different questions have that gold.
    words = f"296 scored; correct is {141 / 296:.3f} on average"
    assert found["empty answer under official"] == (True, words)
    words = "296 unparsed; correct is 0.000 on average"
    assert found["empty answer under vlmevalkit"] == (True, words)
    assert found["samples"] == (True, "296 of 296 that the card expects")
    # Half of the questions of every split are yes: always yes has precision 1/2 and recall 1.
    assert floors(ran)["official", "yes"] == pytest.approx(2 / 3)
    assert floors(ran)["official", "no"] == 0.0


def test_always_yes_in_mme_is_half_of_the_points(cli: Any) -> None:
    """Four perception tasks: 50 points for accuracy each, none for images with both right."""
    ran = cli("validate", "tiny-mme", "--json")
    assert floors(ran)["official", "Yes"] == pytest.approx(4 * 50)


NOTHINGS = ("blank picture", "noise", "color patches")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny-geneval", "54 graded: 54 scored; correct from 0 to 0"),
        ("tiny-wise", "60 graded: 60 scored; wiscore from 0 to 0"),
        ("tiny-imgedit", "60 graded: 60 scored; score from 1 to 1; success from 0 to 0"),
    ],
)
def test_pictures_that_show_nothing_are_worth_nothing(cli: Any, name: str, words: str) -> None:
    ran = cli("validate", name, "--json")
    assert ran.code == 0, ran.out
    found = checks(ran)
    assert found["gold"][0] is None
    for kind in NOTHINGS:
        assert found[f"{kind} under official"] == (True, words)
    assert floors(ran) == {}


def test_a_checker_that_finds_things_in_noise_fails(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a checker does that takes every cell for the nearest state, however far that is."""
    monkeypatch.setattr("pairuni_eval.tiny.world.FIT", 1.0)
    monkeypatch.setattr("pairuni_eval.tiny.world.BEYOND_PLAIN", 100.0)
    ran = cli("validate", "tiny-geneval", "--json")
    assert ran.code == 1
    found = checks(ran)
    assert found["noise under official"][0] is False
    assert found["noise under official"][1].endswith("correct from 0 to 1, and the card allows 0")


def test_where_the_card_says_nothing_of_noise_its_worth_is_told(cli: Any) -> None:
    """Four samples from everywhere, of a benchmark whose judge is not asked here."""
    benchmark = catalog.load_benchmark("tiny-imgedit")
    everyday = msgspec.structs.replace(
        benchmark.card,
        tiny=False,
        protocols={
            name: msgspec.structs.replace(
                rule,
                metrics=tuple(msgspec.structs.replace(m, noise=None) for m in rule.metrics),
            )
            for name, rule in benchmark.card.protocols.items()
        },
    )
    benchmark.card = everyday
    found = {c.name: (c.passed, c.words) for c in validate(benchmark, None, None).checks}
    assert found["noise under official"] == (True, "4 graded: 4 skipped")


# Benchmarks that are wrong


def broken(name: str, monkeypatch: pytest.MonkeyPatch, mark: Any) -> None:
    """Let a benchmark mark its answers in another way."""
    benchmark = type(catalog.load_benchmark(name))
    monkeypatch.setattr(benchmark, "mark", mark)


def test_gold_that_does_not_score_full_fails(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(self: Any, answer: Any, *, protocol: str, judge: Any) -> list[MetricValue]:
        return [MetricValue("correct", float(answer.text == "A"))]

    broken("tiny-mmstar", monkeypatch, mark)
    ran = cli("validate", "tiny-mmstar", "--json")
    assert ran.code == 1
    passed, words = checks(ran)["gold under official"]
    assert passed is False
    assert words.startswith("150 of 204 gold answers do not score full: ")


def test_an_empty_answer_as_good_as_gold_fails(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(self: Any, answer: Any, *, protocol: str, judge: Any) -> list[MetricValue]:
        return [MetricValue("correct", 1.0)]

    broken("tiny-mmstar", monkeypatch, mark)
    ran = cli("validate", "tiny-mmstar", "--json")
    assert ran.code == 1
    assert checks(ran)["empty answer under official"][0] is False
    assert checks(ran)["gold under official"][0] is True


def test_a_missing_score_metric_fails(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(self: Any, answer: Any, *, protocol: str, judge: Any) -> list[MetricValue]:
        return [MetricValue("right", 1.0)]

    broken("tiny-mmstar", monkeypatch, mark)
    ran = cli("validate", "tiny-mmstar", "--json")
    assert ran.code == 1
    assert "has no value of correct" in checks(ran)["values of official"][1]


def test_gold_that_needs_a_judge_is_left_open(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(self: Any, answer: Any, *, protocol: str, judge: Any) -> list[MetricValue]:
        return [MetricValue("correct", None, Status.SKIPPED, "no judge")]

    broken("tiny-mmstar", monkeypatch, mark)
    ran = cli("validate", "tiny-mmstar", "--json")
    assert ran.code == 0
    assert checks(ran)["gold under official"] == (None, "not graded: no judge")


def test_an_unknown_benchmark_offers_the_nearest(cli: Any) -> None:
    ran = cli("validate", "mmstarr")
    assert ran.code == 2
    assert "Did you mean 'mmstar'" in ran.error


def test_a_data_folder_that_is_none_is_named(cli: Any) -> None:
    ran = cli("validate", "mmstar", "--data", "nowhere")
    assert ran.code == 2
    assert "--data nowhere" in ran.error
