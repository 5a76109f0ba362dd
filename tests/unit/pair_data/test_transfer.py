"""`pairs transfer`: what a pair set teaches, against what two runs say of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import Cli, command_line
from support.concept_runs import CONCEPTS, EACH, written

from pairuni_eval.errors import UserError
from pairuni_eval.stats.concept_matrix import DRAWINGS, QUESTIONS, Taught
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.pair_data.record import Generation, Kind, Pair, Understanding, pair_id
from pairuni_train.pair_data.transfer import taught_by


def pair_set(path: Path, asked: list[str] | None, drawn: list[str]) -> Path:
    """One pair; `asked` is None where its source says nothing of concepts."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    und = Understanding(
        id="q1",
        source="made",
        licence="CC0",
        image=buffer.getvalue(),
        question="Is there one?",
        answer="yes",
        facts={} if asked is None else {"concepts": asked},
    )
    facts = {"concepts": drawn} if drawn else {}
    gen = Generation(id="p1", source="made", licence="CC0", prompt="a photo of one", facts=facts)
    kind = Kind.RANDOM
    write_pairs(
        path, [Pair(id=pair_id(kind, und, gen), kind=kind, understanding=und, generation=gen)]
    )
    return path


def test_both_tasks_are_read_apart(tmp_path: Path) -> None:
    found = taught_by(pair_set(tmp_path / "set.parquet", ["wug", "dax"], ["dax"]))
    assert found == Taught(frozenset({"wug", "dax"}), frozenset({"dax"}))


def test_a_set_that_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no half says what it is about"):
        taught_by(pair_set(tmp_path / "set.parquet", None, []))


@pytest.fixture
def train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Cli:
    from pairuni_train.cli import main

    monkeypatch.chdir(tmp_path)
    return command_line("pairuni-train", main, monkeypatch, capfd)


def test_the_command(train: Cli, tmp_path: Path) -> None:
    file = pair_set(tmp_path / "set.parquet", ["wug", "dax"], ["dax", "zib"])
    before = written(tmp_path / "before", {})
    after = written(tmp_path / "after", {("draws", "wug"): True})
    options = (file, "--before", before, "--after", after)
    told = train("pairs", "transfer", *options)
    assert told.code == 0, told.err
    assert f"{QUESTIONS} (draws) is better than before: 15 -> 30 of {EACH}" in told.out
    assert "  Control: concepts not taught (draws): cannot tell; 15 -> 15 of 30" in told.out
    assert f"Next: pairuni-eval compare {after} {before}" in told.err
    cells = json.loads(train("pairs", "transfer", *options, "--json").out)["cells"]
    assert len(cells) == 2 * len(CONCEPTS)
    moved = {(one["measured_by"], one["group"]) for one in cells if one["transfer"]}
    assert moved == {("questions", DRAWINGS), ("drawings", QUESTIONS)}
    (cell,) = (one for one in cells if one["transfer"] and one["measured_by"] == "drawings")
    assert (cell["theirs"], cell["ours"], cell["word"], cell["shared"]) == (
        0.5,
        1.0,
        "better",
        EACH,
    )
