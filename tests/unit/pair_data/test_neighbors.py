"""The most similar image of a pair set for every image of a run, by the tiny encoder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import example_run as example
from support.pair_sources import generation, picture, understanding

from pairuni_eval.cli import run_app
from pairuni_eval.contamination.neighbors import Neighbors, neighbors_path, read_neighbors
from pairuni_eval.errors import UserError
from pairuni_eval.records import Picture, make_item
from pairuni_eval.tiny import world
from pairuni_train.cli import app
from pairuni_train.pair_data.config import EncoderSpec
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.pair_data.encoders import load_encoder
from pairuni_train.pair_data.neighbors import encoder_of, find_neighbors
from pairuni_train.pair_data.record import Kind, Pair


def drawn(*things: world.Thing) -> bytes:
    """The PNG of a scene."""
    return Picture.from_image(world.render(world.Scene(things))).data


RED, MOVED = world.Thing("circle", "red", 0, 0), world.Thing("circle", "red", 3, 3)
BLUE = world.Thing("square", "blue", 1, 1)


def pair(number: int, image: bytes | None) -> Pair:
    half = None if image is None else understanding(number, image=image)
    return Pair(
        id=f"p{number}",
        kind=Kind.UNPAIRED if half is None else Kind.RANDOM,
        understanding=half,
        generation=generation(number, image=drawn(RED)),
    )


@pytest.fixture
def paired(tmp_path: Path) -> Path:
    """A red circle, a broken image and a pair without an understanding half."""
    path = tmp_path / "pairs.parquet"
    write_pairs(path, [pair(0, drawn(RED)), pair(1, picture("red")[:40]), pair(2, None)])
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Questions about a moved red circle (twice), about both things, and about a blue square."""
    (card,) = example.choice_cards(4)[:1]
    images = [drawn(MOVED), drawn(MOVED), drawn(RED, BLUE), drawn(BLUE)]
    rows = []
    for n, data in enumerate(images):
        item = make_item(
            benchmark=card.name,
            version="1",
            key=f"q{n}",
            capability=card.capability,
            parts=(Picture.from_bytes(data), f"What is it? ({n})"),
            reference={"answer": "a"},
        )
        rows.append(example.Graded(item, "a", {"correct": 1.0}))
    example.store(tmp_path / "run", [card], {card.name: rows})
    return tmp_path / "run"


def found(pairs: Path, run: Path) -> Neighbors:
    encoder = load_encoder(EncoderSpec(name="tiny"))
    return find_neighbors(pairs, [run], encoder, batch_size=2, done=lambda _: None)


def test_every_image_has_its_nearest_pair(paired: Path, run: Path) -> None:
    """Counts of things: two equal scenes 1, half of a scene 1/sqrt(2), nothing in common 0."""
    one = found(paired, run)
    assert (one.encoder, one.pairs) == ("tiny", 3)
    assert {neighbor.pair for neighbor in one.nearest.values()} == {"p0"}
    cosines = sorted(neighbor.cosine for neighbor in one.nearest.values())
    assert cosines == pytest.approx([0.0, 0.5**0.5, 1.0], abs=1e-6)


def test_images_of_generation_halves_are_not_looked_through(tmp_path: Path, run: Path) -> None:
    write_pairs(tmp_path / "g.parquet", [pair(0, None)])
    with pytest.raises(UserError, match=r"g\.parquet has no image that can be decoded"):
        found(tmp_path / "g.parquet", run)


def test_the_encoder_is_the_one_the_set_was_built_with(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.parquet"
    with pytest.raises(UserError, match=r"config\.json is not there"):
        encoder_of(pairs, None, None)
    assert encoder_of(pairs, "dinov3", "folder").checkpoint == "folder"


def test_the_command_writes_what_the_report_reads(
    paired: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["pairs", "neighbors", str(paired), "--run", str(run), "--encoder", "tiny"]
    monkeypatch.setattr(sys, "argv", ["pairuni-train", *asked])
    with pytest.raises(SystemExit, match="0"):
        run_app(app)
    assert "1 of 3 images have a neighbor above 0.95" in capsys.readouterr().out
    written = read_neighbors(neighbors_path(paired))
    assert written is not None and len(written.nearest) == 3
