"""A pair set against a stored run: flags, and the headline without the flagged units."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw
from support import example_run as example

from pairuni_eval.cards import Card, MetricSpec
from pairuni_eval.contamination.fingerprints import read_fingerprints
from pairuni_eval.contamination.neighbors import (
    Neighbor,
    Neighbors,
    nearest_pairs,
    neighbors_path,
    read_neighbors,
    write_neighbors,
)
from pairuni_eval.errors import UserError
from pairuni_eval.prompts import WORD_SUFFIX
from pairuni_eval.records import Capability, Picture, make_item
from pairuni_eval.report.contamination import HeadlineLeak, contamination
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun, decode_cell

QUESTION = (
    "How many of the people who stand beside the long red wall in the old harbor wear a blue hat?"
)
PROMPT = "a photo of a red bench"


def photograph(number: int, size: int = 96) -> Image.Image:
    """A smooth picture of its own."""
    draw = np.random.default_rng(number)
    small = Image.fromarray(draw.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    image = small.resize((size, size), Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).ellipse((10, 10, 30 + number, 40), fill=(number * 20 % 255, 30, 200))
    return image


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def pairs(path: Path, *rows: tuple[str | None, str | None, bytes | None]) -> Path:
    """A pair set of (question, prompt, understanding image)."""
    questions, prompts, images = zip(*rows, strict=True)
    cells = [None if image is None else {"bytes": image, "path": None} for image in images]
    table = {
        "id": [f"pair-{n}" for n in range(len(rows))],
        "question": pa.array(questions, pa.string()),
        "prompt": pa.array(prompts, pa.string()),
        "understanding_image": pa.array(
            cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        ),
    }
    pq.write_table(pa.table(table), path)
    return path


def card(name: str, capability: str, expected: int) -> Card:
    return example.card(
        name,
        name.upper(),
        capability,
        expected,
        protocols={"official": example.protocol("accuracy", MetricSpec(name="accuracy"))},
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Questions about eight images, the first two of them right; four prompts, the first right."""
    folder = tmp_path_factory.mktemp("contamination") / "run"
    asks, draws = card("vqa", "understand", 8), card("t2i", "generate", 4)
    graded = {"vqa": [], "t2i": []}
    for n in range(8):
        item = make_item(
            benchmark="vqa",
            version="1",
            key=f"q{n}",
            capability=Capability.UNDERSTAND,
            parts=(Picture.from_bytes(encoded(photograph(n))), f"{QUESTION}\n{WORD_SUFFIX}"),
            reference={},
        )
        graded["vqa"].append(example.Graded(item, "two", {"correct": float(n < 2)}))
    for n, prompt in enumerate((PROMPT, "a green cup", "two dogs", "a tall tower")):
        item = make_item(
            benchmark="t2i",
            version="1",
            key=f"p{n}",
            capability=Capability.GENERATE,
            parts=(prompt,),
            reference={},
        )
        graded["t2i"].append(example.Graded(item, None, {"correct": float(n == 0)}))
    example.store(folder, [asks, draws], graded)
    return Tables(StoredRun(folder))


def found(
    tables: Tables, path: Path, neighbors: Neighbors | None = None
) -> dict[str, HeadlineLeak]:
    if neighbors is not None:
        write_neighbors(neighbors_path(path), neighbors)
    looked = contamination(tables, path, list(tables.run.card.benchmarks))
    return {one.benchmark: one for one in looked.leaks}


def test_near_copies_of_images_are_flagged(tables: Tables, tmp_path: Path) -> None:
    smaller = encoded(photograph(0).resize((80, 80)), "JPEG")
    stranger = encoded(photograph(50))
    path = pairs(tmp_path / "p.parquet", ("Who?", None, stranger), ("What?", None, smaller))
    one = found(tables, path)["vqa"]
    assert [(flag.key, flag.how, flag.pair) for flag in one.flags] == [("q0", "image", "pair-1")]
    assert (one.items, one.units, one.flagged, one.words, one.unseen) == (8, 8, 1, 0, 0)


def test_the_headline_stands_beside_that_without_flagged_units(
    tables: Tables, tmp_path: Path
) -> None:
    images = [encoded(photograph(n)) for n in range(2)]
    path = pairs(tmp_path / "p.parquet", *(("What?", None, image) for image in images))
    one = found(tables, path)["vqa"]
    assert one.everything.value == 0.25 and one.clean.value == 0.0  # both right ones had leaked
    assert one.everything.interval is not None and one.clean.interval is not None
    assert one.sentence.startswith("VQA: 2 of 8 units were found in the pair set; 25.0 % [")
    assert " with them, 0.0 % [0.0 %, " in one.sentence


def test_words_flag_prompts_and_are_counted_for_questions(tables: Tables, tmp_path: Path) -> None:
    path = pairs(tmp_path / "p.parquet", (QUESTION, None, None), (None, PROMPT.upper(), None))
    both = found(tables, path)
    assert both["vqa"].words == 8 and both["vqa"].flags == ()
    (flag,) = both["t2i"].flags
    assert (flag.key, flag.how, flag.pair) == ("p0", "text", "pair-1")
    assert both["t2i"].by == {"text": 1}
    assert both["t2i"].everything.value == 0.25 and both["t2i"].clean.value == 0.0


def test_the_answer_instruction_is_no_common_text(tables: Tables, tmp_path: Path) -> None:
    path = pairs(tmp_path / "p.parquet", (f"What is that?\n{WORD_SUFFIX}", None, None))
    assert found(tables, path)["vqa"].words == 0


def image_of(tables: Tables, key: str) -> str:
    samples = tables.run.samples
    parts = decode_cell(samples[samples["key"] == key]["parts"].iloc[0])
    return next(str(part["image"]) for part in parts if "image" in part)


def test_neighbors_by_features(tables: Tables, tmp_path: Path) -> None:
    path = pairs(tmp_path / "p.parquet", ("What?", None, None))
    near, far = image_of(tables, "q3"), image_of(tables, "q4")
    by_image = {near: Neighbor("pair-0", 0.96), far: Neighbor("pair-0", 0.94)}
    one = found(tables, path, Neighbors("resnet50", 1, by_image))["vqa"]
    (flag,) = one.flags
    assert (flag.key, flag.how, flag.pair) == ("q3", "neighbor", "pair-0")
    assert flag.cosine == pytest.approx(0.96)
    assert one.by == {"neighbor": 1} and one.flagged == 1
    assert one.unsought == 6  # of eight images the encoder saw two


def test_a_copy_counts_before_a_neighbor(tables: Tables, tmp_path: Path) -> None:
    path = pairs(tmp_path / "p.parquet", ("What?", None, encoded(photograph(0))))
    by_image = {image_of(tables, "q0"): Neighbor("pair-0", 1.0)}
    (flag,) = found(tables, path, Neighbors("resnet50", 1, by_image))["vqa"].flags
    assert (flag.key, flag.how, flag.cosine) == ("q0", "image", None)


def test_the_nearest_pair_by_hand() -> None:
    items = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    place, cosine = nearest_pairs(items, np.array([[0.0, 1.0], [0.8, 0.6]], dtype=np.float32))
    assert place.tolist() == [1, 1] and cosine == pytest.approx([0.8, 0.96])
    assert nearest_pairs(items[:0], items)[0].shape == (0,)


def test_neighbors_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = neighbors_path(tmp_path / "p.parquet")
    assert path.name == "p.neighbors.parquet" and read_neighbors(path) is None
    written = Neighbors("resnet50", 3, {"b": Neighbor("x", 0.5), "a": Neighbor("y", 0.25)})
    write_neighbors(path, written)
    assert read_neighbors(path) == written
    path.write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"p\.neighbors\.parquet: not a file of neighbors"):
        read_neighbors(path)


def test_a_folder_is_no_pair_set(tmp_path: Path) -> None:
    pairs(tmp_path / "pairug.parquet", ("What?", None, None))
    with pytest.raises(UserError, match="is a folder, not a pair set") as refused:
        read_fingerprints(tmp_path)
    assert refused.value.hint == "Name the one of the training: pairug.parquet"


def test_nothing_in_common(tables: Tables, tmp_path: Path) -> None:
    path = pairs(tmp_path / "p.parquet", ("Who?", "a lake", encoded(photograph(50))))
    one = found(tables, path)["vqa"]
    assert one.flagged == 0 and one.clean == one.everything
    assert one.sentence == "VQA: none of 8 units was found in the pair set."


def test_all_in_common_leaves_no_headline(tables: Tables, tmp_path: Path) -> None:
    rows = [("What?", None, encoded(photograph(n))) for n in range(8)]
    one = found(tables, pairs(tmp_path / "p.parquet", *rows))["vqa"]
    assert one.clean.value is None and one.sentence.endswith("without them nothing is left.")


def test_broken_images_are_counted(tables: Tables, tmp_path: Path) -> None:
    path = pairs(tmp_path / "p.parquet", ("What?", None, b"no image"), ("Who?", None, None))
    prints = read_fingerprints(path)
    assert (prints.pairs, prints.broken, len(prints.hashes)) == (2, 1, 0)


def test_an_image_that_is_not_stored_is_unseen(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    example.write_run(folder, benchmarks=example.choice_cards(4)[:1], count=4, with_images=False)
    path = pairs(tmp_path / "p.parquet", ("What?", None, None))
    assert found(Tables(StoredRun(folder)), path)["tiny-mmmu"].unseen == 4


def test_what_is_no_pair_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no pair set"):
        read_fingerprints(tmp_path / "nothing.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="not a readable parquet file"):
        read_fingerprints(tmp_path / "text.parquet")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="column 'question' is missing"):
        read_fingerprints(tmp_path / "other.parquet")


def test_a_pair_set_as_training_writes_it(tables: Tables, tmp_path: Path) -> None:
    from pairuni_train.pair_data.dataset import write_pairs
    from pairuni_train.pair_data.record import Generation, Kind, Pair, Understanding

    half = {"id": "1", "source": "s", "licence": "CC0-1.0"}
    asks = Understanding(image=encoded(photograph(5)), question="What?", answer="it", **half)
    one = Pair(
        id="p1",
        kind=Kind.RETRIEVED,
        understanding=asks,
        generation=Generation(prompt=PROMPT, **half),
        similarity=0.7,
    )
    write_pairs(tmp_path / "set.parquet", [one])
    both = found(tables, tmp_path / "set.parquet")
    assert [flag.key for flag in both["vqa"].flags] == ["q5"]
    assert [flag.key for flag in both["t2i"].flags] == ["p0"]


def test_images_that_a_set_names_by_path(tables: Tables, tmp_path: Path) -> None:
    photograph(4).save(tmp_path / "four.png")
    cells = [{"bytes": None, "path": "four.png"}, {"bytes": None, "path": "nowhere.png"}]
    table = {"id": ["a", "b"], "question": ["x", "y"], "prompt": [None, None]}
    pq.write_table(pa.table(table | {"understanding_image": cells}), tmp_path / "set.parquet")
    prints = read_fingerprints(tmp_path / "set.parquet")
    assert (prints.owners, prints.broken) == (("a",), 1)
    assert [flag.key for flag in found(tables, tmp_path / "set.parquet")["vqa"].flags] == ["q4"]
