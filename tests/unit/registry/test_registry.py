"""The built-in benchmarks: cards, samples, gold answers and upstream's own file layouts."""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support import geneval_rows
from support.official_tables import Confusion

from pairuni_eval.benchmark import Answer, Benchmark, MetricValue
from pairuni_eval.catalog import all_cards, benchmark_folders, find_card, load_benchmark, suites
from pairuni_eval.data import Data
from pairuni_eval.errors import UserError
from pairuni_eval.lmms.known_tasks import known_tasks
from pairuni_eval.records import ImagePart, Item, Output, Picture, Status, TextPart
from pairuni_eval.stats.aggregate import find_maker
from pairuni_eval.tiny import edits, prompts
from pairuni_eval.tiny.judge import TinyJudge
from pairuni_eval.tiny.world import Scene, render

TINY = [
    "tiny-geneval",
    "tiny-imgedit",
    "tiny-mme",
    "tiny-mmmu",
    "tiny-mmstar",
    "tiny-pope",
    "tiny-wise",
]
BIG = ["geneval", "mme", "mmmu", "mmstar", "pope"]
ANSWERED_IN_TEXT = ["tiny-mme", "tiny-mmmu", "tiny-mmstar", "tiny-pope"]


def samples_of(name: str, folder: Path | None = None) -> tuple[Benchmark, list[Item]]:
    benchmark = load_benchmark(name)
    return benchmark, list(benchmark.samples(Data(benchmark.card, benchmark.folder, folder)))


@pytest.fixture(scope="module")
def tiny() -> dict[str, tuple[Benchmark, list[Item]]]:
    return {name: samples_of(name) for name in TINY}


def answer(item: Item, *, text: str | None = None, image: Image.Image | None = None) -> Answer:
    """An answer of text or picture to an item, the item's own pictures at hand."""
    parts = (TextPart(text),) if text is not None else ()
    shelf = {p.id: Image.open(io.BytesIO(p.data)) for p in item.pictures if p.data}
    if image is not None:
        drawn = Picture.from_image(image)
        shelf[drawn.id] = image
        parts = (*parts, ImagePart(drawn.id))
    output = Output(id="o", sample=item.sample.uid, draw=0, seed=0, decoding="d", parts=parts)
    return Answer(item.sample, output, lambda key: shelf[key].convert("RGB"))


def marks_of(
    benchmark: Benchmark, answers: list[Answer], protocol: str = "official"
) -> list[dict[str, MetricValue]]:
    judge = TinyJudge() if benchmark.card.judge else None
    scored = benchmark.score_under(answers, protocol=protocol, judge=judge)
    return [{mark.metric: mark for mark in marks} for marks in scored]


# Cards and suites


def test_every_built_in_is_found() -> None:
    assert set(TINY) | set(BIG) <= {card.name for card in all_cards()}


@pytest.mark.parametrize("name", [*TINY, *BIG])
def test_card_is_consistent(name: str) -> None:
    card = find_card(name)
    assert card.tiny == name.startswith("tiny-")
    assert card.default_protocol == "official"
    for protocol in card.protocols.values():
        for metric in protocol.metrics:
            find_maker(metric.aggregate)
    metrics = {metric.name for p in card.protocols.values() for metric in p.metrics}
    assert {figure.metric for figure in card.published} <= metrics


def test_the_hub_is_asked_for_one_layout_of_pope() -> None:
    """`Full` holds the same rows again."""
    assert find_card("pope").data.remote_files == ("data/test-*.parquet",)
    assert find_card("mmstar").data.remote_files == find_card("mmstar").data.files


@pytest.mark.parametrize("name", ["mme", "mmmu", "mmstar", "pope"])
def test_understanding_is_graded_by_three_toolkits_at_a_pinned_revision(name: str) -> None:
    card = find_card(name)
    assert {"official", "lmms-eval", "vlmevalkit"} <= set(card.protocols)
    assert re.fullmatch(r"[0-9a-f]{40}", card.data.revision)
    assert card.expected == {"mme": 2374, "mmmu": 900, "mmstar": 1500, "pope": 5127}[name]


def test_suites_name_only_what_exists() -> None:
    known = {card.name for card in all_cards()} | {f"lmms:{name}" for name in known_tasks()}
    assert {"tiny", "smoke", "paper", "understanding", "editing"} <= set(suites())
    assert {"table1", "table2", "table3"} <= set(suites())
    for suite in suites().values():
        assert set(suite.benchmarks) <= known
    assert sorted(suites()["tiny"].benchmarks) == TINY


# Tiny benchmarks


@pytest.mark.parametrize("name", TINY)
def test_tiny_samples_are_complete_and_stable(name: str, tiny: Any) -> None:
    benchmark, items = tiny[name]
    uids = [item.sample.uid for item in items]
    assert len(set(uids)) == len(uids) == benchmark.card.expected
    assert uids == [item.sample.uid for item in samples_of(name)[1]]
    keys = [item.sample.key for item in items]
    assert len(set(keys)) == len(keys)


def test_a_uid_is_pinned(tiny: Any) -> None:
    """A change here means that old runs no longer meet new ones: raise the card's version."""
    assert tiny["tiny-pope"][1][0].sample.uid == "d3a211e8c5a6907eae2c4aafffe9e005"


@pytest.mark.parametrize("name", ANSWERED_IN_TEXT)
def test_gold_answers_score_full(name: str, tiny: Any) -> None:
    benchmark, items = tiny[name]
    answers = [answer(item, text=benchmark.gold(item.sample)) for item in items]
    for protocol in benchmark.card.protocols:
        marks = marks_of(benchmark, answers, protocol)
        assert all(row["correct"].value == 1.0 for row in marks), protocol


def test_gold_pictures_score_full(tiny: Any) -> None:
    rng = random.Random(0)
    benchmark, items = tiny["tiny-geneval"]
    scenes = [prompts.sample_scene(rng, item.sample.reference) for item in items]
    drawn = [answer(i, image=render(s)) for i, s in zip(items, scenes, strict=True)]
    assert all(row["correct"].value == 1.0 for row in marks_of(benchmark, drawn))

    benchmark, items = tiny["tiny-wise"]
    scenes = [prompts.sample_scene(rng, item.sample.reference["wanted"]) for item in items]
    drawn = [answer(i, image=render(s)) for i, s in zip(items, scenes, strict=True)]
    assert all(row["wiscore"].value == pytest.approx(1.0) for row in marks_of(benchmark, drawn))


def test_gold_edits_score_full_and_no_edit_scores_least(tiny: Any) -> None:
    import msgspec

    from pairuni_eval.tiny.world import read

    benchmark, items = tiny["tiny-imgedit"]
    right, nothing = [], []
    for item in items:
        source = Image.open(io.BytesIO(item.pictures[0].data))
        edit = msgspec.convert(item.sample.reference["edit"], edits.Edit)
        right.append(answer(item, image=render(edits.apply_edit(read(source), edit))))
        nothing.append(answer(item, image=source))
    for row in marks_of(benchmark, right):
        assert (row["score"].value, row["success"].value) == (5.0, 1.0)
        assert row["score"].judge == "tiny-judge/3"
    for row in marks_of(benchmark, nothing):
        assert (row["score"].value, row["success"].value) == (1.0, 0.0)


# (benchmark, protocol) -> what an empty answer is there
EMPTY = {
    ("tiny-mmmu", "official"): Status.SCORED,  # the rule draws an option
    ("tiny-mmmu", "no-guess"): Status.UNPARSED,
    ("tiny-mmstar", "official"): Status.UNPARSED,
    ("tiny-mmstar", "lmms-eval"): Status.UNPARSED,
    ("tiny-mme", "official"): Status.UNPARSED,
    ("tiny-mme", "lmms-eval"): Status.UNPARSED,
    ("tiny-pope", "official"): Status.SCORED,  # everything unreadable is a yes
    ("tiny-pope", "lmms-eval"): Status.SCORED,  # wrong for accuracy, absent from F1
    ("tiny-pope", "vlmevalkit"): Status.UNPARSED,
}


@pytest.mark.parametrize(("name", "protocol"), EMPTY)
def test_empty_answers(name: str, protocol: str, tiny: Any) -> None:
    benchmark, items = tiny[name]
    (row,) = marks_of(benchmark, [answer(items[0], text="")], protocol)
    assert row["correct"].status is EMPTY[name, protocol]


@pytest.mark.parametrize("name", ["tiny-wise", "tiny-imgedit"])
def test_without_a_judge_nothing_is_invented(name: str, tiny: Any) -> None:
    benchmark, items = tiny[name]
    drawn = answer(items[0], image=render(Scene(())))
    (marks,) = benchmark.score([drawn], protocol="official", judge=None)
    judged = [mark for mark in marks if mark.metric != "success"]
    assert {(mark.value, mark.status) for mark in judged} == {(None, Status.SKIPPED)}


def test_tiny_mme_images_come_in_pairs(tiny: Any) -> None:
    _, items = tiny["tiny-mme"]
    for first, second in zip(items[::2], items[1::2], strict=True):
        assert first.sample.unit == second.sample.unit
        assert {first.sample.tags["label"], second.sample.tags["label"]} == {"yes", "no"}


def test_tiny_pope_is_balanced_in_every_split(tiny: Any) -> None:
    _, items = tiny["tiny-pope"]
    for split in ("random", "popular", "adversarial"):
        inside = [i.sample for i in items if split in i.sample.tags["split"].split(",")]
        assert len(inside) == 120
        assert sum(sample.tags["label"] == "yes" for sample in inside) == 60


# GenEval


def test_geneval_prompts_are_the_553(shared: Path) -> None:
    benchmark, items = samples_of("geneval", shared / "data")
    assert len({item.sample.uid for item in items}) == len(items) == benchmark.card.expected == 553
    # A change here means that old runs no longer meet new ones: raise the card's version.
    assert items[0].sample.uid == "be46274a3086cde228e7b13b4d2e859e"


def test_complete_geneval_prompts_must_be_the_official_ones(tmp_path: Path) -> None:
    benchmark, items = samples_of("geneval", geneval_rows.write(tmp_path, 12))
    assert [item.sample.key for item in items] == [f"{n:05d}" for n in range(12)]
    assert items[0].sample.parts == (TextPart(geneval_rows.rows(1)[0]["prompt"]),)
    assert items[5].sample.tags == {"task": "color_attr"}
    drawn = answer(items[0], image=render(Scene(())))
    (row,) = marks_of(benchmark, [drawn])
    assert (row["correct"].status, row["correct"].verdict) == (Status.SKIPPED, "no detector")
    with pytest.raises(UserError, match="as many rows as the official data, but SHA-256 is"):
        samples_of("geneval", geneval_rows.write(tmp_path, 553))


# Upstream's parquet files, made here with photographs


def photograph(name: str) -> bytes:
    from skimage import data

    buffer = io.BytesIO()
    Image.fromarray(getattr(data, name)()).resize((48, 32)).save(buffer, format="PNG")
    return buffer.getvalue()


PopeRow = tuple[str, str, str, str]  # category, image, object, answer
POPE_ROWS: list[PopeRow] = [
    ("adversarial", "astronaut", "person", "yes"),
    ("adversarial", "astronaut", "car", "no"),
    ("popular", "astronaut", "person", "yes"),
    ("popular", "astronaut", "chair", "no"),
    ("random", "astronaut", "person", "yes"),
    ("random", "astronaut", "chair", "no"),
    ("random", "coffee", "cup", "yes"),
    ("random", "coffee", "dog", "no"),
]


def pope_table(rows: list[PopeRow]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "id": str(number),
                "question_id": str(number + 1),
                "question": f"Is there a {thing} in the image?",
                "answer": gold,
                "image_source": f"COCO_{image}",
                "image": {"bytes": photograph(image), "path": f"{image}.png"},
                "category": category,
            }
            for number, (category, image, thing, gold) in enumerate(rows)
        ]
    )


def write_pope(folder: Path, layout: str) -> None:
    if layout == "default":
        (folder / "data").mkdir()
        pq.write_table(pope_table(POPE_ROWS), folder / "data" / "test-00000-of-00001.parquet")
        return
    (folder / "Full").mkdir()
    table = pope_table(POPE_ROWS)
    for split in ("adversarial", "popular", "random"):
        path = folder / "Full" / f"{split}-00000-of-00001.parquet"
        pq.write_table(table.filter(pa.compute.equal(table["category"], split)), path)


@pytest.fixture(params=["default", "Full"])
def pope(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Benchmark, list[Item]]:
    write_pope(tmp_path, request.param)
    return samples_of("pope", tmp_path)


def test_pope_asks_each_question_once(pope: tuple[Benchmark, list[Item]]) -> None:
    _, items = pope
    seen = {
        (item.sample.unit, item.sample.text.split("\n")[0]): item.sample.tags["split"]
        for item in items
    }
    assert len(items) == len(seen) == 5
    assert seen["COCO_astronaut", "Is there a person in the image?"] == "adversarial,popular,random"
    assert seen["COCO_astronaut", "Is there a chair in the image?"] == "popular,random"
    assert items[0].sample.key == "adversarial/1,popular/3,random/5"
    assert items[0].sample.text.endswith("\nAnswer the question using a single word or phrase.")


def test_pope_f1_over_all_rows(pope: tuple[Benchmark, list[Item]]) -> None:
    """Yes to person and chair, no to cup: over 8 rows 3 + 0 hits, 2 false alarms, 1 miss."""
    benchmark, items = pope
    said = {"person": "Yes", "chair": "Yes.", "cup": "No", "car": "no", "dog": "No, there is not."}
    answers = [
        answer(item, text=next(v for k, v in said.items() if k in item.sample.text))
        for item in items
    ]
    counts = Confusion(0, 0, 0, 0)
    for item, row in zip(items, marks_of(benchmark, answers), strict=True):
        yes, label = row["said_yes"].value == 1.0, item.sample.tags["label"] == "yes"
        times = len(item.sample.tags["split"].split(","))
        one = Confusion(yes and label, yes and not label, not (yes or label), label and not yes)
        counts = Confusion(*(old + times * new for old, new in zip(counts, one, strict=True)))
    assert counts == Confusion(tp=3, fp=2, tn=2, fn=1)
    assert counts.f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize("protocol", ["official", "lmms-eval", "vlmevalkit"])
def test_pope_prints_random_mean_and_overall_of_every_figure(protocol: str) -> None:
    names = {spec.name for spec in find_card("pope").protocols[protocol].metrics}
    figures = ("f1", "accuracy", "precision", "recall")
    assert {f"{name}{which}" for name in figures for which in ("", "_random", "_mean")} <= names


def test_pope_refuses_two_answers_to_one_question(tmp_path: Path) -> None:
    rows = [*POPE_ROWS, ("random", "astronaut", "car", "yes")]
    pq.write_table(pope_table(rows), tmp_path / "test.parquet")
    with pytest.raises(UserError, match="both 'no' and 'yes'"):
        samples_of("pope", tmp_path)


def mmstar_table() -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "index": number,
                "question": "What is it?\nOptions: A: a cup, B: a person, C: a dog, D: a car",
                "image": photograph(name),
                "answer": letter,
                "category": "coarse perception",
                "l2_category": "image scene and topic",
                "meta_info": {"source": "made", "split": "val", "image_path": f"{name}.png"},
            }
            for number, (name, letter) in enumerate([("coffee", "A"), ("astronaut", "B")])
        ]
    )


def test_mmstar_reads_the_upstream_file(tmp_path: Path) -> None:
    pq.write_table(mmstar_table(), tmp_path / "mmstar.parquet")
    benchmark, items = samples_of("mmstar", tmp_path)
    assert [item.sample.key for item in items] == ["0", "1"]
    assert [benchmark.gold(item.sample) for item in items] == ["A", "B"]
    assert items[0].sample.tags["source"] == "made"
    assert items[0].sample.text.endswith("letter from the given choices directly.")
    answers = [answer(item, text="A") for item in items]
    assert [row["correct"].value for row in marks_of(benchmark, answers)] == [1.0, 0.0]
    # VLMEvalKit looks for the text of an option where no letter stands.
    answers = [answer(item, text="I see a person.") for item in items]
    assert [m["correct"].value for m in marks_of(benchmark, answers, "vlmevalkit")] == [0.0, 1.0]


TABLES: dict[str, Callable[[], pa.Table]] = {
    "pope": lambda: pope_table(POPE_ROWS),
    "mmstar": mmstar_table,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_column_is_named(name: str, tmp_path: Path) -> None:
    table = TABLES[name]().drop_columns(["question"])
    pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match="column 'question' is missing"):
        samples_of(name, tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_image_cell_does_not_stop_the_samples(name: str, tmp_path: Path) -> None:
    table = TABLES[name]()
    place = table.schema.get_field_index("image")
    hollow = pa.array([None] * table.num_rows, type=table.schema.field("image").type)
    table = table.set_column(place, "image", hollow)
    pq.write_table(table, tmp_path / f"{name}.parquet")
    _, items = samples_of(name, tmp_path)
    assert items
    assert all(item.pictures[0].data == b"" for item in items)


# Data of others


def test_no_benchmark_brings_data_of_others() -> None:
    kinds = {".py", ".toml", ""}
    for found in benchmark_folders().values():
        files = (p for p in found.folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        assert {path.name for path in files if path.suffix not in kinds} == set()


PINNED = [
    "geneval",
    "geneval-long",
    "imgedit",
    "unigenbench",
    "unigenbench-long",
    "unigenbench-zh",
    "unigenbench-zh-long",
    "wise",
    "wise-verified",
]


@pytest.mark.parametrize("name", PINNED)
def test_files_at_pinned_addresses_are_of_the_cards_commit(name: str) -> None:
    data = find_card(name).data
    assert re.fullmatch(r"[0-9a-f]{40}", data.revision)
    for url in data.urls:
        parts = url.url.split("/")
        assert parts[:3] == ["https:", "", "raw.githubusercontent.com"]
        assert parts[5] == data.revision
    assert {card.name for card in all_cards() if card.data.urls} == set(PINNED)


def test_the_pinned_hashes_are_those_of_the_official_files(shared: Path) -> None:
    named = {"prompts.json": "judge_prompts.json"}  # as it is called there
    looked = 0
    for name in PINNED:
        folder = shared / "data" / name.partition("-")[0]
        for url in find_card(name).data.urls:
            path = folder / named.get(url.file, url.file)
            if path.is_file():
                data = path.read_bytes()
                assert (len(data), hashlib.sha256(data).hexdigest()) == (url.bytes, url.sha256)
                looked += 1
    assert looked == 9  # all but two scripts with judge prompts and the long prompts
