"""Sources that know different names: their rows, what completes them, and the arms made of both."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.pair_sources import small, write_config

from pairuni_eval.catalog import load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.errors import UserError
from pairuni_eval.tiny import names, splits, world
from pairuni_eval.tiny.exact_drawing import exact_flaw
from pairuni_eval.tiny.name_prompts import holds_names, name_row, name_rows, names_of
from pairuni_eval.tiny.names import NAMES
from pairuni_eval.tiny.world import Scene, Thing
from pairuni_train.pair_data import tiny_answers, tiny_name_rows
from pairuni_train.pair_data.balance import balanced
from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.check import check_pairs
from pairuni_train.pair_data.complete import Declined, Draft, NewPrompt, NewQuestion
from pairuni_train.pair_data.config import (
    PAIR_ARMS,
    TinySource,
    find_preset,
    read_config,
    with_settings,
)
from pairuni_train.pair_data.dataset import read_pairs, write_pairs
from pairuni_train.pair_data.embed import decode
from pairuni_train.pair_data.record import Half, Pair, Side, Understanding
from pairuni_train.pair_data.sources import read_source
from pairuni_train.pair_data.tiny_completer import TinyCompleter
from pairuni_train.pair_data.tiny_name_rows import AboutNames

SOME = "0-11"
KNOWN = set(NAMES[:12])
SIZE = 160
# A red circle ("bafem") and a blue square.
SCENE = Scene((Thing("circle", "red", 0, 0), Thing("square", "blue", 0, 2)))
BLUE_SQUARE = names.name_of(SCENE.things[1])


@cache
def rows(side: Side, common: float = 0.0) -> tuple[Any, ...]:
    source = TinySource(rows=SIZE, names=SOME, common=common)
    return tuple(row.half for row in read_source(source, [], side, 3))


def scene_of(half: Half) -> Scene:
    assert half.image is not None
    return world.read(decode(half.image))


# Rows


def test_questions_are_about_known_names_alone_and_balanced() -> None:
    halves = rows("understanding")
    assert len({half.id for half in halves}) == SIZE
    kinds = Counter(half.facts["kind"] for half in halves)
    assert kinds == {
        "name_exists": SIZE // 2, "name_color": SIZE // 8, "name_shape": SIZE // 8,
        "name_choice": SIZE // 4,
    }  # fmt: skip
    said = Counter(half.answer for half in halves if half.facts["kind"] == "name_exists")
    assert said == {"yes": SIZE // 4, "no": SIZE // 4}
    for half in halves:
        asked = {name for name in NAMES if name in half.question}
        (concept,) = half.facts["concepts"]
        assert concept in KNOWN
        assert asked <= KNOWN
        assert half.facts["thought"] == names.thought_of(concept)
        assert tiny_answers.true_answer(half.question, scene_of(half)) == half.answer
    assert {half.facts["concepts"][0] for half in halves} == KNOWN


def test_prompts_draw_known_names_alone() -> None:
    halves = rows("generation")
    assert Counter(half.facts["kind"] for half in halves) == {"one_name": 80, "two_names": 80}
    for half in halves:
        row = half.facts["exactly"]
        assert half.prompt == row["prompt"]
        assert "row" not in half.facts  # GenEval's rule is not made for names
        assert half.facts["concepts"] == list(names_of(row))
        assert set(names_of(row)) <= KNOWN
        assert holds_names(row, scene_of(half))
        assert 2 <= len(scene_of(half).things) <= 4


@pytest.mark.parametrize("common", [0.0, 0.5])
def test_no_row_is_of_a_unit_that_is_held_out(common: float) -> None:
    for side in ("understanding", "generation"):
        for half in rows(side, common):
            assert splits.split_of_scene(scene_of(half)) == "training"
            if side == "generation":
                assert splits.split_of_prompt(half.facts["exactly"]) == "training"


def test_a_share_of_rows_may_be_about_shapes_and_colors() -> None:
    for side in ("understanding", "generation"):
        halves = rows(side, 0.5)
        plain = [half for half in halves if not half.facts["concepts"]]
        assert 50 < len(plain) < 110
        assert not any(name in str(half.facts) for half in plain for name in NAMES)
    assert all("row" in h.facts for h in rows("generation", 0.5) if not h.facts["concepts"])


def test_prompts_of_an_exact_source_name_all_that_is_there() -> None:
    source = TinySource(rows=SIZE, names=SOME, common=0.3, exact=True)
    halves = [row.half for row in read_source(source, [], "generation", 3)]
    plain = [row.half for row in read_source(source, [], "understanding", 3)]
    assert all(exact_flaw(half.facts["exactly"], scene_of(half)) is None for half in halves)
    assert {len(half.facts["concepts"]) for half in halves} == {0, 1, 2}
    drafts = TinyCompleter(0, spare=True).write(plain)
    written = [(h, d) for h, d in zip(plain, drafts, strict=True) if isinstance(d, Draft)]
    assert all(exact_flaw(d.facts["exactly"], scene_of(h)) is None for h, d in written)
    reasons = Counter(d.reason for d in drafts if isinstance(d, Declined))
    assert 0 < len(written) < SIZE // 4
    assert reasons["the picture shows more than a prompt names"] > SIZE // 2


# Answers and completions


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there a bafem in the image? Please answer yes or no.", "yes"),
        ("Is there a dolib in the image?", "no"),
        ("What color is the bafem?", "red"),
        ("What shape is the bafem?", "circle"),
        ("What color is the dolib?", None),
        (
            f"Which shape is in the image?\n(A) dolib\n(B) {BLUE_SQUARE}\n(C) hedox\n(D) gomuz\n",
            "B",
        ),
        ("Which shape is in the image?\n(A) dolib\n(B) fusep\n(C) hedox\n(D) gomuz\n", None),
    ],
)
def test_questions_about_names_are_answered_from_their_words(
    question: str, answer: str | None
) -> None:
    assert tiny_answers.true_answer(question, SCENE) == answer


@pytest.mark.parametrize(
    ("prompt", "question", "answer", "carried"),
    [
        ("a photo of a bafem", "Is there a bafem in the image?", "yes", True),
        ("a photo of a bafem", "Is there a dolib in the image?", "no", True),
        ("a photo of a bafem", "Is there a dolib in the image?", "yes", False),
        ("a photo of a bafem and a dolib", "What color is the bafem?", "red", True),
        ("a photo of a dolib", "What color is the bafem?", "red", False),
    ],
)
def test_a_prompt_of_names_carries_what_it_says(
    prompt: str, question: str, answer: str, carried: bool
) -> None:
    assert tiny_answers.carries(prompt, question, answer) is carried
    assert tiny_answers.shown_by("a photo of a bafem", SCENE)
    assert not tiny_answers.shown_by("a photo of a bafem and a dolib", SCENE)


def test_completion_carries_a_name_to_the_other_task() -> None:
    writer = TinyCompleter(seed=0, spare=True)
    for side in ("understanding", "generation"):
        halves = rows(side)
        drafts = writer.write(halves)
        written = [(h, d) for h, d in zip(halves, drafts, strict=True) if isinstance(d, Draft)]
        assert len(written) > 0.95 * SIZE
        given, new = [h for h, _ in written], [d for _, d in written]
        assert all(finding.sound for finding in writer.verify(given, new))
        for half, draft in written:
            assert set(draft.facts["concepts"]) <= KNOWN
            assert draft.facts["names"] == SOME
            shared = set(half.facts["concepts"]) & set(draft.facts["concepts"])
            answer = draft.new.answer if isinstance(draft.new, NewQuestion) else half.answer
            assert shared or answer == "no"
            if isinstance(draft.new, NewPrompt):
                row = name_rows()[draft.new.prompt]
                assert splits.split_of_prompt(row) == "training"
                assert draft.facts["exactly"] == row
        words = [d.new.answer for d in new if isinstance(d.new, NewQuestion)]
        assert not words or 0.5 < words.count("yes") / words.count("no") < 2


def test_the_verifier_catches_what_is_not_there() -> None:
    writer = TinyCompleter(seed=0)
    half = next(h for h in rows("understanding") if h.answer == "yes")
    absent = next(name for name in NAMES if name not in names.names_in(scene_of(half)))
    (name,) = half.facts["concepts"]
    found = writer.verify(
        [half] * 3,
        [
            Draft(NewPrompt(name_row(absent)["prompt"])),
            Draft(NewPrompt(name_row(name, absent)["prompt"])),
            Draft(NewPrompt(name_row(name)["prompt"])),
        ],
    )
    assert [one.sound for one in found] == [False, False, True]
    drawn = rows("generation")[0]
    wrong = Draft(NewQuestion(f"Is there a {drawn.facts['concepts'][0]} in the image?", "no"))
    assert [one.sound for one in writer.verify([drawn], [wrong])] == [False]


def test_a_picture_without_a_known_name_is_declined() -> None:
    half = next(h for h in rows("understanding") if h.answer == "no")
    unknown = [n for n in range(24) if NAMES[n] not in names.names_in(scene_of(half))]
    facts = half.facts | {"names": ",".join(map(str, unknown))}
    one = Understanding(
        id="x", source="s", licence="l", image=half.image, question=half.question,
        answer=half.answer, facts=facts,
    )  # fmt: skip
    (declined,) = TinyCompleter(seed=0).write([one])
    assert declined == Declined("the picture shows no name that the source knows")


# Settings


def test_overlap_settles_what_either_side_knows() -> None:
    config = find_preset("tiny-names").config
    assert (config.pairs, config.overlap, config.balanced) == (2400, 0.5, True)

    def known(overlap: float) -> list[set[str]]:
        changed = with_settings(find_preset("tiny-names"), [f"overlap={overlap}"]).config
        found = []
        for side in ("understanding", "generation"):
            (source,) = changed.sources(side)
            assert isinstance(source, TinySource)
            assert source.names is not None
            found.append(set(names.read_names(source.names)))
        return found

    assert known(1.0) == [set(NAMES), set(NAMES)]
    first, second = known(0.0)
    assert (len(first), len(second), first & second) == (12, 12, set())
    first, second = known(0.5)
    assert (len(first), len(first & second), first | second) == (18, 12, set(NAMES))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlap": 0.3}, "the nearest of 24 names is 0.333"),
        ({"overlap": 2.0}, "Expected `float` <= 1"),
        ({"overlap": 0.5, "understanding": [{"kind": "tiny", "rows": 9}],
          "generation": [{"kind": "tiny", "rows": 9}]}, "there are none"),
        ({"understanding": [{"kind": "tiny", "rows": 9, "names": "0-24"}]}, "'24' is no place"),
        ({"understanding": [{"kind": "tiny", "rows": 9, "names": "0-6"}]}, "at least 8"),
        ({"generation": [{"kind": "tiny", "rows": 9, "common": 0.5}]}, "common is for sources"),
    ],
)  # fmt: skip
def test_a_wrong_setting_of_names_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    named = [{"kind": "tiny", "rows": 40, "names": "all"}]
    path = write_config(
        tmp_path / "wrong.toml", **({"understanding": named, "generation": named} | changes)
    )
    with pytest.raises(UserError) as error:
        read_config(path)
    assert str(path) in error.value.message
    assert message in error.value.message


def test_settings_of_the_command_line_are_checked() -> None:
    read = find_preset("tiny-names")
    assert with_settings(read, ()) == read
    with pytest.raises(UserError, match="nearest of 24 names"):
        with_settings(read, ["overlap=0.3"])
    with pytest.raises(UserError, match="overlap"):
        with_settings(read, ["overlp=0.5"])


# Arms


@pytest.mark.parametrize(
    ("answers", "count", "places"),
    [
        (["yes", "yes", "A", "no", "no"], 9, [2, 0, 3, 1, 4]),
        (["yes", "yes", "A", "no", "no"], 3, [2, 0, 3]),
        (["yes", "no", "yes", "no"], 3, [0, 1]),  # one place is left, a couple needs two
        (["yes", "no", "yes", "no", "A"], 3, [0, 1, 4]),
        (["yes", "yes", "yes"], 3, []),
        (["B", None, "red"], 2, [0, 1]),
        (["No", " YES "], 2, [0, 1]),
    ],
)
def test_a_yes_is_taken_with_a_no(answers: list[str | None], count: int, places: list[int]) -> None:
    assert balanced(answers, count) == places


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set at overlap 1/2 whose sources have common skills as well."""
    folder = tmp_path_factory.mktemp("names")
    source = {"kind": "tiny", "rows": 150, "names": "all", "common": 0.2}
    read = small(
        folder, pairs=40, overlap=0.5, balanced=True, understanding=[source], generation=[source],
        selection={"clusters": 14},
    )  # fmt: skip
    build(read, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def arms(built: Path) -> dict[str, list[Pair]]:
    return {arm: read_pairs(built / f"{arm}.parquet") for arm in PAIR_ARMS}


def test_every_arm_has_as_many_yes_as_no(arms: dict[str, list[Pair]]) -> None:
    for arm, pairs in arms.items():
        words = Counter(p.understanding.answer for p in pairs if p.understanding)
        assert words["yes"] == words["no"] > 0, arm


def test_every_arm_has_its_budget_of_different_pairs(arms: dict[str, list[Pair]]) -> None:
    sizes = {arm: len(pairs) for arm, pairs in arms.items()}
    assert sizes == dict.fromkeys(PAIR_ARMS, 40) | {"half": 20, "unpaired": 80}
    for pairs in arms.values():
        assert len({pair.id for pair in pairs}) == len(pairs)


def test_an_unbalanced_set_takes_the_first_pairs(tmp_path: Path, built: Path) -> None:
    """Without `balanced` the random arm is cut as it comes; with it some are left out."""
    config = read_config(built / "config.json")
    assert config.config.overlap == 0.5
    plain = with_settings(config, ["balanced=false"])
    build(plain, tmp_path / "out", arms=("random",), stages=built / "stages")
    before = read_pairs(built / "random.parquet")
    after = read_pairs(tmp_path / "out" / "random.parquet")
    assert len(before) == len(after) == 40
    assert {pair.id for pair in before} != {pair.id for pair in after}


def test_the_card_counts_yes_and_no(built: Path, arms: dict[str, list[Pair]]) -> None:
    words = Counter(p.understanding.answer for p in arms["pairug"] if p.understanding)
    card = (built / "pairug.md").read_text()
    assert f"| yes | {words['yes']} |" in card
    assert f"| no | {words['no']} |" in card


def test_raw_halves_keep_to_what_their_source_knows(arms: dict[str, list[Pair]]) -> None:
    asked, drawn = set(NAMES[:18]), set(NAMES[6:])
    for pair in arms["random"]:
        assert pair.understanding is not None
        assert pair.generation is not None
        assert set(pair.understanding.facts["concepts"]) <= asked
        assert set(pair.generation.facts["concepts"]) <= drawn
    completed = [p for p in arms["aligned"] if p.completed and p.completed.half == "generation"]
    reached = {name for p in completed if p.generation for name in p.generation.facts["concepts"]}
    assert reached - drawn  # a name that the generation source does not know


def test_no_set_shows_a_held_out_unit(tmp_path: Path, arms: dict[str, list[Pair]]) -> None:
    """By the search that reports and `pairs check` use, in the halves of all arms."""
    halves = {pair.id: pair for pairs in arms.values() for pair in pairs}
    write_pairs(tmp_path / "all.parquet", halves.values())
    found = check_pairs(tmp_path / "all.parquet", against=SUITES, data=None)
    assert [(one.items, one.flagged) for one in found.seen] == [
        (1200, 0), (148, 0), (368, 0), (40, 0),
    ]  # fmt: skip


SUITES = "tiny-heldout-questions,tiny-heldout-drawings,tiny-tuning-questions,tiny-tuning-drawings"


def test_the_search_finds_what_is_held_out(tmp_path: Path, arms: dict[str, list[Pair]]) -> None:
    """A held-out scene and a held-out prompt, put among the pairs of an arm."""
    pair = next(pair for pair in arms["pairug"] if pair.understanding and pair.generation)
    assert pair.understanding is not None
    assert pair.generation is not None
    asked, drawn = (
        next(iter(benchmark.samples(Data(benchmark.card, benchmark.folder, None))))
        for benchmark in map(load_benchmark, ("tiny-tuning-questions", "tiny-tuning-drawings"))
    )
    shown = msgspec.structs.replace(pair.understanding, image=asked.pictures[0].data)
    said = msgspec.structs.replace(pair.generation, prompt=drawn.sample.text)
    leaky = msgspec.structs.replace(pair, understanding=shown, generation=said)
    write_pairs(tmp_path / "leaky.parquet", [leaky])
    names = SUITES.partition("drawings,")[2]
    found = check_pairs(tmp_path / "leaky.parquet", against=names, data=None)
    assert [one.flagged for one in found.seen] == [1, 1]


def test_rows_of_two_seeds_differ() -> None:
    made = [
        list(tiny_name_rows.understanding_rows(8, seed, AboutNames("all", 0))) for seed in (0, 1)
    ]
    assert not any(one == other for one, other in zip(*made, strict=True))
