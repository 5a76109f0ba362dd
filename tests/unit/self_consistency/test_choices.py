"""Readers whose faults are known, asked in multiple choice what pictures show."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from support.asked_pictures import (
    Asked,
    asked_about,
    drawn,
    holds,
    marked,
    number_of,
    opened,
    question,
    silent,
)
from support.tiny_painters import FaultyPainter, oracle

from pairuni_eval.catalog import load_benchmark
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import Reply, Request
from pairuni_eval.records import Item
from pairuni_eval.report.build import build_report
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.stats.aggregate import GradedRows
from pairuni_eval.stats.tables import Tables, metric_row, status_counts
from pairuni_eval.store.read import StoredRun
from pairuni_eval.tiny.prompts import PLURALS
from pairuni_eval.tiny.questions import sides
from pairuni_eval.tiny.world import Scene

NAME = "self:tiny-geneval-choices"
KINDS = ("count", "color", "relation")
_LINE = re.compile(r"^\(([A-D])\) (.+)$", re.MULTILINE)
_SINGULAR = {word: shape for shape, word in PLURALS.items()}


@pytest.fixture(scope="module")
def asked(painter_run: Path) -> list[Asked]:
    return asked_about(NAME, painter_run)


def put(item: Item) -> bool:
    return item.sample.tags["form"] == "choice"


def named(scene: Scene, text: str) -> str:
    """The letter of what a scene shows, read from the words of the request."""
    words, options = text.splitlines()[0], dict(_LINE.findall(text))
    many = re.match(r"How many (\w+) are there", words)
    color = re.match(r"What color is the (\w+)", words)
    where = re.match(r"Where is the (\w+) relative to the (\w+)", words)
    if many:
        right = {str(len(scene.select(shape=_SINGULAR[many[1]])))}
    elif color:
        right = {scene.select(shape=color[1])[0].color}
    elif where:
        ((one,), (anchor,)) = (scene.select(shape=shape) for shape in where.groups())
        right = set(sides(one, anchor))
    else:
        assert words == "Which of these is in the image?"
        right = {shape for shape in options.values() if scene.select(shape=shape)}
    (letter,) = [mark for mark, option in options.items() if option in right]
    return letter


def seeing(item: Item, scene: Scene) -> str:
    if put(item):
        return named(scene, item.sample.text)
    return "yes" if oracle(scene, question(item)) else "no"


def number(rows: dict[str, GradedRows], metric: str, **where: str) -> float | None:
    return number_of(NAME, rows, metric, **where).value


def test_every_option_has_every_letter_once(asked: list[Asked]) -> None:
    letters: dict[tuple[str, ...], Counter[tuple[str, str]]] = {}
    for item, _ in asked:
        if put(item):
            tags = item.sample.tags
            fact = (item.sample.unit, tags["draw"], tags["fact"], tags["pictures"])
            pairs = _LINE.findall(item.sample.text)
            letters.setdefault(fact, Counter()).update(pairs)
    assert len(letters) > 300
    for found in letters.values():
        assert set(found.values()) == {1} and len(found) == 16
    first = [_LINE.findall(item.sample.text)[0][1] for item, _ in asked if put(item)]
    assert len(set(first)) > 10, "the first order is drawn too"


def test_the_order_is_the_same_every_time(painter_run: Path, asked: list[Asked]) -> None:
    again = asked_about(NAME, painter_run)
    assert [one.item.sample for one in again] == [one.item.sample for one in asked]


def test_the_picture_gives_the_answer(asked: list[Asked]) -> None:
    for item, scene in asked:
        if put(item):
            reference = item.sample.reference
            assert reference["answer"] == named(scene, item.sample.text)
            held = reference["answer"] == reference["asked"]
            assert item.sample.tags["label"] == ("yes" if held else "no")
    assert "swap" not in {item.sample.tags["kind"] for item, _ in asked}


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_names_everything(asked: list[Asked], kind: str) -> None:
    rows = marked(NAME, asked, seeing)
    for metric in (
        "youden_j",
        "balanced_right",
        "right",
        "youden_j_yes_no",
        "form_agreement",
        "form_kappa",
    ):
        assert number(rows, metric, kind=kind) == 1.0
    assert number(rows, "own_penalty", kind=kind) == 0.0
    draws = number(rows, "draws", kind=kind)
    assert draws is not None and 0.4 < draws < 0.9
    assert number(rows, "right_object") == 1.0


@pytest.mark.parametrize("letter", ["A", "D"])
def test_one_letter_for_all_is_chance_exactly(asked: list[Asked], letter: str) -> None:
    rows = marked(NAME, asked, lambda item, _: letter if put(item) else "yes")
    for kind in KINDS:
        assert number(rows, "youden_j", kind=kind) == 0.0
        assert number(rows, "right", kind=kind) == 0.25
        assert number(rows, "balanced_right", kind=kind) == 0.25
        assert number(rows, "form_agreement", kind=kind) == 0.25
    assert number(rows, "form_kappa") is None, "yes to all: nothing to agree on beyond chance"
    silent = marked(NAME, asked, lambda *_: letter)
    assert number(silent, "right") == 0.25
    assert number(silent, "form_agreement") is None, "a letter is neither yes nor no"


def test_the_echo_of_the_prompt_fools_right_alone(asked: list[Asked]) -> None:
    def echo(item: Item, _: Scene) -> str:
        return f"({item.sample.reference['asked']})" if put(item) else "yes"

    rows = marked(NAME, asked, echo)
    assert number(rows, "youden_j") == number(rows, "youden_j_yes_no") == 0.0
    assert number(rows, "balanced_right") == 0.5
    assert number(rows, "right") == number(rows, "draws")
    assert number(rows, "form_agreement") == 1.0


def test_a_coin_is_at_chance(asked: list[Asked]) -> None:
    chance = {"youden_j": 0.0, "right": 0.25, "balanced_right": 0.25, "form_kappa": 0.0}
    hits = dict.fromkeys(chance, 0)
    for seed in range(5):
        coin = random.Random(seed)
        rows = marked(
            NAME,
            asked,
            lambda item, _: coin.choice("ABCD" if put(item) else ("yes", "no")),  # noqa: B023
        )
        for metric, level in chance.items():
            hits[metric] += holds(number_of(NAME, rows, metric), level)
    assert min(hits.values()) >= 4


def test_a_liking_for_a_letter_cancels(asked: list[Asked]) -> None:
    """Who sees half of the time, by fact, and else says B: .5 of J, whatever holds."""

    def biased(item: Item, scene: Scene) -> str:
        sees = random.Random(f"{item.sample.unit} {item.sample.tags['fact']}").random() < 0.5
        return seeing(item, scene) if sees or not put(item) else "B"

    rows = marked(NAME, asked, biased)
    assert holds(number_of(NAME, rows, "youden_j"), 0.5)
    assert holds(number_of(NAME, rows, "right"), 0.5 + 0.5 / 4)


class ChoosingPainter(FaultyPainter):
    """Answers choices by what a picture shows."""

    def answer(self, requests: list[Request]) -> list[Reply]:  # type: ignore[override]
        from pairuni_eval.tiny.world import read

        return [
            Reply(text=f"({named(read(one.parts[0]), one.text)})")  # type: ignore[arg-type]
            if one.text.count("\n(") == 4
            else super(ChoosingPainter, self).answer([one])[0]
            for one in requests
        ]


def test_a_run_says_the_same_and_counts_what_was_not_put(tmp_path: Path) -> None:
    few = drawn(tmp_path / "few", FaultyPainter("painter", oracle), limit=20)
    settings = RunSettings(
        checkpoint="painter",
        out=tmp_path / "seen",
        benchmarks=("self:tiny-geneval", NAME),
        batch_size=4096,
        painter=few,
    )
    measure(settings, silent(), ChoosingPainter("painter", oracle))
    tables = Tables(StoredRun(tmp_path / "seen"))
    for metric in ("youden_j", "right", "form_agreement"):
        spec = tables.spec(NAME, "choices").metric(metric)
        assert metric_row(tables, NAME, "choices", spec).estimate.value == 1.0
    skipped = {row.reason for row in status_counts(tables, NAME, "choices") if row.reason}
    assert "there are too few false options to choose among" in skipped
    page = build_report(tables.run, tmp_path / "page", {}).with_name("report.md").read_text()
    assert "agreement of both forms" in page
    assert page.lower().count("wrong and insists") == 1, "the four kinds are those of the twins"


def test_another_painter_is_asked_about_in_choices_as_well(
    painter_run: Path, tmp_path: Path
) -> None:
    other = drawn(tmp_path / "other", FaultyPainter("other", oracle, right=0.5), seed=5, limit=30)
    found = opened(NAME, painter_run, other)
    tags = [item.sample.tags for item in found.samples(found.data(None))]
    control = [one for one in tags if one["pictures"] == "control"]
    assert {one["form"] for one in control} == {"yes_no", "choice"}
    assert all(one["label"] for one in control)


def test_what_has_no_choices_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="Unknown benchmark 'tiny-wise-choices' of 'self:'"):
        load_benchmark("self:tiny-wise-choices")
    with pytest.raises(UserError) as refused:
        load_benchmark("self:tiny-geneval-choice")
    assert "tiny-geneval-choices" in f"{refused.value.message} {refused.value.hint}"
