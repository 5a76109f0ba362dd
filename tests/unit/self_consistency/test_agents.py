"""Six readers whose faults are known, on pictures whose faults are known; and whole runs of two."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
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
from support.tiny_painters import FaultyPainter, oracle, red_for_green

from pairuni_eval.benchmark import Answer, Benchmark, Painted
from pairuni_eval.catalog import load_benchmark
from pairuni_eval.errors import UserError
from pairuni_eval.records import ImagePart, Item, Output, Picture
from pairuni_eval.report.build import build_report
from pairuni_eval.report.copied_images import ImageCopier
from pairuni_eval.report.own_pictures import own_pictures
from pairuni_eval.report.readers_output import as_tables, readings
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.scorers.objects import Observation
from pairuni_eval.stats.aggregate import GradedRows
from pairuni_eval.stats.compare import compare_page
from pairuni_eval.stats.intervals import Estimate
from pairuni_eval.stats.tables import Tables, metric_row, status_counts
from pairuni_eval.store.read import StoredRun
from pairuni_eval.tiny.world import COLORS, Scene

NAME = "self:tiny-geneval"
Agent = Callable[[Item, Scene, str], bool]


@pytest.fixture(scope="module")
def asked(painter_run: Path) -> list[Asked]:
    """Every question with the scene of its picture."""
    return asked_about(NAME, painter_run)


def graded(asked: list[Asked], agent: Agent) -> dict[str, GradedRows]:
    """The rows of every score metric, as the benchmark marks an agent's answers."""

    def answer(item: Item, scene: Scene) -> str:
        return "Yes." if agent(item, scene, question(item)) else "No, it is not."

    return marked(NAME, asked, answer)


def number(rows: dict[str, GradedRows], metric: str, **where: str) -> Estimate:
    return number_of(NAME, rows, metric, **where)


def test_the_grader_decides_what_holds(asked: list[Asked]) -> None:
    kinds = {item.sample.tags["kind"] for item, _ in asked}
    assert kinds == {"object", "count", "color", "swap", "relation"}
    for item, scene in asked:
        gold = item.sample.reference.get("answer")
        if gold is not None:
            assert gold == ("yes" if oracle(scene, question(item)) else "no")
    twin = [item.sample.tags["twin"] for item, _ in asked]
    assert twin.count("asked") == twin.count("other") > 500


@pytest.mark.parametrize("kind", ["count", "color", "relation"])
def test_the_oracle_sees_everything(asked: list[Asked], kind: str) -> None:
    rows = graded(asked, lambda _, scene, text: oracle(scene, text))
    for metric in ("youden_j", "balanced_sees", "sees", "kappa"):
        assert number(rows, metric, kind=kind).value == 1.0
    for metric in ("over_approval", "undeserved", "own_penalty"):
        assert number(rows, metric, kind=kind).value == 0.0
    draws = number(rows, "draws", kind=kind).value
    assert draws is not None and 0.4 < draws < 0.9
    assert number(rows, "gap", kind=kind).value == pytest.approx(draws - 1)
    assert number(rows, "deserved", kind=kind).value == pytest.approx(1 - draws)
    assert number(rows, "self_selection").value == 1.0


def test_what_the_swap_shows_by_agent(asked: list[Asked]) -> None:
    rows = graded(asked, lambda _, scene, text: oracle(scene, text))
    assert number(rows, "youden_j_swap").value == number(rows, "balanced_sees_swap").value == 1.0
    rows = graded(asked, lambda *_: True)
    assert number(rows, "youden_j_swap").value == number(rows, "balanced_sees_swap").value == 0.0
    rows = graded(asked, lambda item, *_: item.sample.tags["twin"] == "asked")
    assert number(rows, "youden_j_swap").value == 0.0
    assert number(rows, "balanced_sees_swap").value == 0.5


def test_colors_seen_anywhere_show_in_the_swap_alone(asked: list[Asked]) -> None:
    """A reader who knows which colors are in the picture, not which object has them."""

    def unbound(_: Item, scene: Scene, text: str) -> bool:
        color = text.rsplit(maxsplit=1)[-1].rstrip("?")
        if text.startswith("Is the ") and color in COLORS:
            return any(thing.color == color for thing in scene.things)
        return oracle(scene, text)

    rows = graded(asked, unbound)
    right = {"picture": "right", "task": "color_attr"}  # both colors are there
    color = number(rows, "sees", kind="color", **right).value
    assert color is not None and color > 0.6, "most foils are no color of the picture"
    assert number(rows, "sees", scope="swap", **right).value == 0.0


def test_the_swap_repeats_a_question_and_has_no_second_vote(
    asked: list[Asked],
) -> None:
    votes = {item.sample.tags["votes"] for item, _ in asked if item.sample.tags["kind"] == "swap"}
    assert votes == {"no"}
    others = {item.sample.tags["votes"] for item, _ in asked if item.sample.tags["kind"] != "swap"}
    assert others == {"yes"}
    by_fact = {
        (item.sample.unit, item.sample.tags["draw"], item.sample.tags["pictures"], question(item))
        for item, _ in asked
        if item.sample.tags["kind"] == "color"
    }
    again = [
        (item.sample.unit, item.sample.tags["draw"], item.sample.tags["pictures"], question(item))
        for item, _ in asked
        if item.sample.tags["kind"] == "swap" and item.sample.tags["twin"] == "asked"
    ]
    assert again and set(again) <= by_fact


def test_always_yes_knows_nothing(asked: list[Asked]) -> None:
    rows = graded(asked, lambda *_: True)
    assert number(rows, "approves").value == 1.0
    for metric in ("youden_j", "kappa", "balanced_sees", "sees", "self_selection"):
        assert number(rows, metric).value == pytest.approx(0.0, abs=1e-12)


def test_the_echo_of_the_prompt_fools_sees_alone(asked: list[Asked]) -> None:
    rows = graded(asked, lambda item, *_: item.sample.tags["twin"] == "asked")
    assert number(rows, "youden_j").value == 0.0
    assert number(rows, "balanced_sees").value == 0.5
    assert number(rows, "sees").value == number(rows, "draws").value


def test_a_coin_is_at_chance(asked: list[Asked]) -> None:
    chance = {"youden_j": 0.0, "sees": 0.25, "balanced_sees": 0.25}
    hits = dict.fromkeys(chance, 0)
    for seed in range(5):
        coin = random.Random(seed)
        rows = graded(asked, lambda *_: coin.random() < 0.5)  # noqa: B023 - called at once
        for metric, level in chance.items():
            hits[metric] += holds(number(rows, metric), level)
    assert min(hits.values()) >= 4


def test_a_fifth_flipped_leaves_three_fifths(asked: list[Asked]) -> None:
    coin = random.Random(8)
    rows = graded(asked, lambda _, scene, text: oracle(scene, text) != (coin.random() < 0.2))
    assert holds(number(rows, "youden_j"), 0.6)
    assert holds(number(rows, "sees"), 0.64)


def test_red_for_green_shows_in_colors_alone(asked: list[Asked]) -> None:
    rows = graded(asked, lambda _, scene, text: red_for_green(scene, text))
    color = number(rows, "youden_j", kind="color").value
    assert color is not None and color < 1
    for kind in ("count", "relation"):
        assert number(rows, "youden_j", kind=kind).value == 1.0
        assert number(rows, "balanced_sees", kind=kind).value == 1.0


# Through the runner


def seen(folder: Path, painter: Path, reader: FaultyPainter, control: Path | None = None) -> Tables:
    settings = RunSettings(
        checkpoint="painter",
        out=folder,
        benchmarks=(NAME,),
        batch_size=4096,
        painter=painter,
        control=control,
    )
    measure(settings, silent(), reader)
    return Tables(StoredRun(folder))


def value(tables: Tables, metric: str) -> float | None:
    spec = tables.spec(NAME, "twins").metric(metric)
    return metric_row(tables, NAME, "twins", spec).estimate.value


@pytest.fixture(scope="module")
def oracle_run(painter_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("oracle") / "seen"
    return seen(folder, painter_run, FaultyPainter("painter", oracle))


def test_a_run_says_the_same_and_keeps_where_it_comes_from(
    painter_run: Path, oracle_run: Tables
) -> None:
    assert value(oracle_run, "youden_j") == value(oracle_run, "balanced_sees") == 1.0
    assert value(oracle_run, "self_selection") == 1.0
    samples = oracle_run.run.samples
    parents = samples["reference"].map(json.loads).map(lambda one: one["output"])
    assert set(parents) <= set(StoredRun(painter_run).outputs["id"])
    skipped = [row for row in status_counts(oracle_run, NAME, "twins") if row.status == "skipped"]
    assert {row.reason for row in skipped} == {
        "the grader sees no single relation",
        "the grader sees neither object's color",
    }
    lone = samples["tags"].map(json.loads).map(lambda one: one["twin"] == "lone")
    assert sum(row.rows for row in skipped) == lone.sum() > 0
    assert not oracle_run.run.card.partial


def test_another_painter_stands_where_facts_agree(painter_run: Path, tmp_path: Path) -> None:
    other = drawn(tmp_path / "other", FaultyPainter("other", oracle, right=0.5), seed=5, limit=30)
    found = opened(NAME, painter_run, other)
    own: dict[str, str] = {}
    control: dict[str, str] = {}
    for item in found.samples(found.data(None)):
        tags, key = item.sample.tags, item.sample.key.removesuffix(" control")
        if tags["twin"] == "asked":
            (own if tags["pictures"] == "painter" else control)[key] = tags["label"]
    assert 50 < len(control) < len(own)
    assert all(own[key] == label for key, label in control.items())


@pytest.fixture(scope="module")
def blind_run(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Another checkpoint: takes green for red, and draws other pictures."""
    folder, model = (
        tmp_path_factory.mktemp("blind"),
        FaultyPainter("blind", red_for_green, right=0.5),
    )
    return seen(folder / "seen", drawn(folder / "second", model, seed=1), model)


def test_two_checkpoints_meet_by_fact_with_labels_of_their_own(
    oracle_run: Tables, blind_run: Tables
) -> None:
    page = compare_page((oracle_run,), {"blind": (blind_run,)})["blind"]
    by_name = {row.spec.name: row for row in page.differences}
    j = by_name["youden_j"]
    assert j.ours == 1.0
    assert j.theirs is not None and 0.5 < j.theirs < 1
    assert j.shared > 150 and j.interval is not None and j.interval.low > 0
    # what each drew is counted by what its own pictures show
    draws = by_name["draws"]
    assert draws.ours is not None and draws.theirs is not None and draws.ours != draws.theirs
    color = next(one for one in page.groups if one.group == "color" and one.spec.name == "youden_j")
    assert color.theirs is not None and color.theirs < 1
    count = next(one for one in page.groups if one.group == "count")
    assert count.reason == "too few units show what the number rests on"  # ten prompts count


def test_the_page_counts_and_shows_four_kinds_of_picture(blind_run: Tables, tmp_path: Path) -> None:
    with ImageCopier(tmp_path) as copier:
        found = own_pictures(blind_run, NAME, copier)
    assert found is not None and set(found.kinds) == {
        "object",
        "count",
        "color",
        "swap",
        "relation",
    }
    sees, denies, admits, insists = (corner.counts for corner in found.corners)
    color = found.kinds.index("color")
    assert denies[color] > 0 and insists[color] > 0
    for kind in ("count", "relation"):
        n = found.kinds.index(kind)
        assert denies[n] == insists[n] == 0 and sees[n] > 0 and admits[n] > 0
        assert found.seen_right[n] == (sees[n], sees[n])
        assert found.seen_wrong[n] == (admits[n], admits[n])
    assert sum(found.unread) == 0 and found.unknown > 0
    shown = found.corners[3].examples
    assert {one.answer for one in shown} == {"yes"}
    assert all("red" in one.question or "green" in one.question for one in shown)
    page = build_report(blind_run.run, tmp_path / "page", {})
    for words in (page.read_text(), (tmp_path / "page" / "report.md").read_text()):
        assert "wrong and insists" in words.lower()


def test_readers_stand_over_painters(oracle_run: Tables, blind_run: Tables) -> None:
    found = readings([oracle_run.run, blind_run.run])
    assert [(one.reader, one.painter) for one in found] == [("blind", "second"), ("painter", "run")]
    (seen_all,) = [one.j["all"].value for one in found if one.reader == "painter"]
    assert seen_all == 1.0
    assert len(as_tables(found)) == 4  # all, count, color, relation


def test_a_part_of_the_pictures_is_a_part_of_the_questions(tmp_path: Path) -> None:
    few = drawn(tmp_path / "few", FaultyPainter("painter", oracle), limit=6)
    found = seen(tmp_path / "seen", few, FaultyPainter("oracle", oracle))
    part = found.run.card.benchmarks[NAME]
    assert part.expected == part.planned * 9
    assert found.run.card.partial


def test_another_painter_is_another_run(painter_run: Path, tmp_path: Path) -> None:
    few = drawn(tmp_path / "few", FaultyPainter("painter", oracle), limit=2)
    reader = FaultyPainter("oracle", oracle)
    seen(tmp_path / "seen", few, reader)
    with pytest.raises(UserError, match="the painter named now has other pictures"):
        seen(tmp_path / "seen", painter_run, reader)


def test_what_cannot_be_read_is_refused_by_name(painter_run: Path, tmp_path: Path) -> None:
    settings = RunSettings(checkpoint="painter", out=tmp_path / "seen", benchmarks=(NAME,))
    reader = FaultyPainter("oracle", oracle)
    with pytest.raises(UserError, match=f"'{NAME}' reads the pictures that a finished run drew"):
        measure(settings, silent(), reader)
    with pytest.raises(UserError, match="has no pictures of 'tiny-wise'"):
        wise = replace(settings, benchmarks=("self:tiny-wise",), painter=painter_run)
        measure(wise, silent(), reader)
    with pytest.raises(UserError, match="reads the pictures of a finished run") as unread:
        load_benchmark(NAME).data(None)
    assert f"--benchmarks {NAME} --painter RUN" in (unread.value.hint or "")
    with pytest.raises(UserError, match="Unknown benchmark 'tiny-genevall' of 'self:'"):
        load_benchmark("self:tiny-genevall")


# Other benchmarks


class _Sight:
    """A detector that finds one brown bench in every picture."""

    def observe(
        self, pictures: Sequence[Image.Image], prompts: Sequence[object]
    ) -> list[Observation]:
        assert len(pictures) == len(prompts)
        bench = {"bench": [(0.0, 0.0, 9.0, 9.0, 0.95)]}
        return [Observation(bench, lambda _, found: ["brown"] * len(found)) for _ in pictures]


def one_picture(benchmark: Benchmark, item: Item, **values: float) -> Painted:
    picture = Picture.from_image(Image.new("RGB", (32, 32)))
    part = ImagePart(picture.id)
    output = Output(id="o", sample=item.sample.uid, draw=2, seed=0, decoding="d", parts=(part,))
    return Painted(Answer(item.sample, output, lambda _: Image.new("RGB", (32, 32))), values)


def test_geneval_is_read_by_its_own_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_benchmark("geneval")
    row = {"tag": "colors", "prompt": "a photo of a pink bench"}
    row |= {"include": [{"class": "bench", "count": 1, "color": "pink"}]}  # type: ignore[dict-item]
    item = benchmark.item(key="00000", parts=(row["prompt"],), reference=row)
    monkeypatch.setattr(benchmark, "_observer", lambda protocol: _Sight())
    ((thing, color),) = benchmark.facts([one_picture(benchmark, item)], seed=0)
    assert thing.holds and thing.kind == "object"
    assert (color.asked, color.twin, color.holds) == (
        "Is the bench pink?",
        "Is the bench brown?",
        False,
    )
    monkeypatch.setattr(benchmark, "_observer", lambda protocol: f"no weights for {protocol}.")
    with pytest.raises(UserError, match="no weights for official"):
        next(benchmark.facts([one_picture(benchmark, item)], seed=0))


def test_tiny_wise_is_read_by_what_its_judge_said() -> None:
    benchmark = load_benchmark("tiny-wise")
    items = list(benchmark.samples(benchmark.data(None)))[:12]
    painted = [
        one_picture(benchmark, item, consistency=float(n % 3)) for n, item in enumerate(items)
    ]
    found = [fact for (fact,) in benchmark.facts(painted, seed=0)]
    assert [fact.holds for fact in found] == [n % 3 == 2 for n in range(12)]
    said = {
        f"Does the image show this: {one.sample.reference['explanation'].rstrip('.')}?"
        for one in items
    }
    assert {fact.asked for fact in found} == said
    assert all(fact.twin in said - {fact.asked} for fact in found)
