"""Arms have the budget they promise and the halves their names say; bad input is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pair_sources import picture, small, write_config

from pairuni_eval.errors import UserError
from pairuni_eval.tiny import prompts, world
from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.config import PAIR_ARMS, find_preset, read_config
from pairuni_train.pair_data.dataset import read_pairs
from pairuni_train.pair_data.embed import decode, normalized
from pairuni_train.pair_data.encoders import TinyEncoder
from pairuni_train.pair_data.record import Kind, Pair
from pairuni_train.pair_data.tiny_answers import carries, true_answer

Arms = dict[str, list[Pair]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    build(small(folder), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def arms(built: Path) -> Arms:
    return {arm: read_pairs(built / f"{arm}.parquet") for arm in PAIR_ARMS}


def test_every_arm_has_the_same_number_of_halves(arms: Arms) -> None:
    halves = {
        arm: sum((p.understanding is not None) + (p.generation is not None) for p in pairs)
        for arm, pairs in arms.items()
    }
    assert halves == dict.fromkeys(PAIR_ARMS, 24) | {"half": 12}
    unpaired = arms["unpaired"]
    assert sum(pair.understanding is not None for pair in unpaired) == 12
    assert sum(pair.generation is not None for pair in unpaired) == 12


def test_kinds_are_what_the_arms_are_called(arms: Arms) -> None:
    kinds = {arm: {pair.kind for pair in pairs} for arm, pairs in arms.items()}
    assert kinds == {
        "pairug": {Kind.ALIGNED, Kind.RETRIEVED},
        "aligned": {Kind.ALIGNED},
        "retrieved": {Kind.RETRIEVED},
        "half": {Kind.ALIGNED, Kind.RETRIEVED},
        "u_only": {Kind.ALIGNED},
        "g_only": {Kind.ALIGNED},
        "unpaired": {Kind.UNPAIRED},
        "low_similarity": {Kind.LOW_SIMILARITY},
        "random": {Kind.RANDOM},
    }
    assert sum(pair.kind is Kind.ALIGNED for pair in arms["pairug"]) == 5  # clusters
    assert {p.id for p in arms["half"]} < {p.id for p in arms["pairug"]}
    completed = {
        arm: {pair.completed and pair.completed.half for pair in arms[arm]}
        for arm in ("u_only", "g_only")
    }
    assert completed == {"u_only": {"generation"}, "g_only": {"understanding"}}


def test_no_image_is_used_twice_in_an_arm(arms: Arms) -> None:
    for pairs in arms.values():
        for side in ("understanding", "generation"):
            halves = [half for pair in pairs if (half := getattr(pair, side)) is not None]
            assert len({(half.source, half.id) for half in halves}) == len(halves)


def cosine(pair: Pair) -> float:
    encoder = TinyEncoder()
    assert pair.understanding is not None
    assert pair.generation is not None
    images = (decode(pair.understanding.image), decode(pair.generation.image or b""))
    u_D, g_D = normalized(encoder.encode(np.stack([encoder.prepare(image) for image in images])))
    return float(u_D @ g_D)


def test_similarities_are_the_cosines_and_lie_where_they_should(arms: Arms) -> None:
    for pair in (*arms["retrieved"], *arms["low_similarity"]):
        assert pair.similarity == pytest.approx(cosine(pair), abs=1e-6)
    assert min(pair.similarity or 0 for pair in arms["retrieved"]) >= 0.6
    assert max(pair.similarity or 0 for pair in arms["low_similarity"]) < 0.6
    assert {pair.similarity for pair in arms["aligned"]} == {1.0}
    assert {pair.similarity for pair in arms["random"]} == {None}


def test_every_half_of_the_tiny_world_can_be_judged(arms: Arms) -> None:
    for pairs in arms.values():
        for pair in pairs:
            if pair.generation is not None:
                scene = world.read(decode(pair.generation.image or b""))
                row = pair.generation.facts["row"]
                assert row["prompt"] == pair.generation.prompt
                assert prompts.satisfies(row, world.detections_of(scene))
                assert not world.held_out(scene)
            if pair.understanding is not None:
                scene = world.read(decode(pair.understanding.image))
                asked = pair.understanding
                assert true_answer(asked.question, scene) == asked.answer
                assert not world.held_out(scene)


def test_aligned_pairs_are_about_one_image_and_carry_the_answer(arms: Arms) -> None:
    for pair in (*arms["aligned"], *arms["u_only"], *arms["g_only"]):
        asked, drawn = pair.understanding, pair.generation
        assert asked is not None
        assert drawn is not None
        assert asked.image == drawn.image
        assert carries(drawn.prompt, asked.question, asked.answer)


def test_the_card_says_how_the_set_was_made(built: Path) -> None:
    card = (built / "pairug.md").read_text()
    assert card.startswith("# small: pairug\n\n12 rows, 24 training halves.\n")
    assert "generation rows in the given order (Algorithm 1), 1 per generation image" in card
    assert "medoids of MiniBatchKMeans, 5 clusters of understanding and generation rows" in card
    assert "| encoder's weights | counts/2 |" in card
    assert "| Apache-2.0 | 24 |" in card
    assert "| retrieved | 7 |" in card
    assert (built / "pairug.svg").read_text().startswith("<svg ")
    assert "Short" not in card


def test_many_images_are_clustered_from_the_disk(tmp_path: Path, built: Path) -> None:
    build(small(tmp_path, selection={"in_memory": 79}), tmp_path / "out", arms=["pairug", "u_only"])
    cards = [(tmp_path / "out" / f"{arm}.md").read_text() for arm in ("pairug", "u_only")]
    assert "medoids of MiniBatchKMeans from the disk in 3 passes, 5 clusters of" in cards[0]
    assert "medoids of MiniBatchKMeans, 12 clusters of understanding rows" in cards[1]  # 40 images
    assert len(read_pairs(tmp_path / "out" / "pairug.parquet")) == 12
    u_only = (tmp_path / "out" / "u_only.parquet", built / "u_only.parquet")
    assert u_only[0].read_bytes() == u_only[1].read_bytes()


def test_seeds_change_the_sets(tmp_path: Path, arms: Arms) -> None:
    build(small(tmp_path, seed=2), tmp_path / "out", arms=["random"])
    other = read_pairs(tmp_path / "out" / "random.parquet")
    assert {pair.id for pair in other} != {pair.id for pair in arms["random"]}


def test_generation_images_may_be_left_out(tmp_path: Path) -> None:
    build(small(tmp_path, generation_images=False), tmp_path / "out", arms=["pairug"])
    pairs = read_pairs(tmp_path / "out" / "pairug.parquet")
    assert {pair.generation and pair.generation.image for pair in pairs} == {None}


def test_a_short_arm_says_so(tmp_path: Path) -> None:
    rows = [{"kind": "tiny", "rows": 8}]
    read = small(tmp_path, understanding=rows, generation=rows)
    (written,) = build(read, tmp_path / "out", arms=["random"])
    assert (written.rows, written.asked) == (8, 12)
    assert "Short: the budget of this arm is 24 halves" in (tmp_path / "out/random.md").read_text()


def test_halves_that_nobody_checked_are_counted_in_the_card(tmp_path: Path) -> None:
    unchecked = {"completer": "tiny", "verify": False}
    build(small(tmp_path, completion=unchecked), tmp_path / "out", arms=["aligned"])
    card = (tmp_path / "out" / "aligned.md").read_text()
    assert "nobody checked the 12 kept ones" in card
    assert "checked by nobody" in card


# Bad input


def test_configurations_of_older_sets_are_read(tmp_path: Path) -> None:
    older = small(
        tmp_path, retrieval={"order": "given"}, completion={"completer": "tiny", "lying": 0.0}
    )
    assert older.config == small(tmp_path).config


def refused(folder: Path, **changes: Any) -> UserError:
    with pytest.raises(UserError) as error:
        build(small(folder, **changes), folder / "out", arms=["pairug"])
    return error.value


def test_more_clusters_than_images_are_refused_with_the_bound(tmp_path: Path) -> None:
    error = refused(tmp_path, selection={"clusters": 81})
    assert error.message.startswith("81 clusters, but only 80 images")
    assert error.hint == "Set selection.clusters (or pairs) to at most 80."


def test_a_threshold_that_leaves_nothing_names_the_best_cosine(tmp_path: Path) -> None:
    rows = [{"kind": "tiny", "rows": 4}]
    error = refused(
        tmp_path,
        understanding=rows,
        generation=rows,
        selection={"clusters": 1},
        retrieval={"threshold": 1.0},
    )
    assert "retrieval.threshold 1 leaves no pair: the two most similar images have" in error.message


def test_a_source_of_broken_rows_only_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"image": "no.png", "prompt": "x"}) + "\n")
    table = {
        "kind": "files",
        "name": "mine",
        "folder": ".",
        "files": ["*.jsonl"],
        "licence": "MIT",
        "columns": {"image": "image", "prompt": "prompt"},
    }
    error = refused(tmp_path, generation=[table])
    assert error.message.endswith(
        "no row of generation can be used. The first one, mine rows/0: no readable image "
        "(rows.jsonl, column image: there is no file 'no.png' in the dataset's folder)."
    )


def test_broken_images_are_counted_in_the_card(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(picture("red"))
    (tmp_path / "cut.png").write_bytes(picture("red")[:50])
    lines = [{"image": name, "prompt": name} for name in ("good.png", "cut.png", "none.png")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mine = {
        "kind": "files",
        "name": "mine",
        "folder": ".",
        "files": ["*.jsonl"],
        "licence": "MIT",
        "columns": {"image": "image", "prompt": "prompt"},
    }
    read = small(tmp_path, generation=[{"kind": "tiny", "rows": 20}, mine])
    build(read, tmp_path / "out", arms=["random"])
    card = (tmp_path / "out" / "random.md").read_text()
    assert "| generation rows | 22 rows, 1 refused, 1 broken images |" in card
    assert "- mine rows/2: no readable image" in card
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert len(rejects) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pears": 3}, "unknown key 'pears'. Did you mean 'pairs'?"),
        (
            {"retrieval": {"treshold": 0.6}},
            "unknown key 'treshold' in retrieval. Did you mean 'threshold'?",
        ),
        ({"retrieval": {"order": "global"}}, "unknown key 'order' in retrieval."),
        (
            {"selection": {"clusters": 5, "method": "kmean"}},
            "'kmean' is not a value of selection.method. Did you mean 'kmeans'?",
        ),
        ({"arms": ["pairugg"]}, "'pairugg' is not a value of arms[0]. Did you mean 'pairug'?"),
        ({"retrieval": {"threshold": 1.5}}, "Expected `float` <= 1.0"),
        (
            {"understanding": [{"kind": "file", "rows": 3}]},
            "'file' is not a value of understanding[0].kind. Did you mean 'files'?",
        ),
        ({"understanding": []}, "understanding names no source."),
        (
            {"completion": {"completer": "tiny", "lying": 0.1}},
            "unknown key 'lying' in completion.",
        ),
        (
            {"generation": [{"kind": "files", "name": "x", "files": ["a.csv"], "licence": "MIT",
                             "folder": ".", "columns": {"image": "i", "prompt": "p"}}]},
            "generation[0].files: 'a.csv' is not a *.parquet, *.jsonl or *.tar.",
        ),
        (
            {"generation": [{"kind": "files", "name": "x", "files": ["*.tar"], "licence": "MIT",
                             "folder": ".", "columns": {"image": "i"}}]},
            "generation[0].columns.prompt is missing.",
        ),
        (
            {"generation": [{"kind": "files", "name": "x", "files": ["*.tar"], "licence": "MIT",
                             "columns": {"image": "i", "prompt": "p"}}]},
            "generation[0] needs exactly one of hub and folder.",
        ),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_config(tmp_path / "wrong.toml", **changes)
    with pytest.raises(UserError) as error:
        read_config(path)
    assert str(path) in error.value.message
    assert message in error.value.message


def test_presets_are_sound_and_an_unknown_one_offers_the_nearest() -> None:
    tiny, paper = find_preset("tiny").config, find_preset("orsta-blip3o").config
    assert tiny.arms == PAIR_ARMS
    assert (paper.pairs, paper.retrieval.threshold, paper.encoder.name) == (16320, 0.6, "resnet50")
    with pytest.raises(UserError, match=r"Unknown preset 'tyni'. Did you mean 'tiny'\?"):
        find_preset("tyni")
