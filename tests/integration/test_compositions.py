"""A pair of specialists and folders of pictures, from the command line to the report."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support.command_line import Cli

from pairuni_eval.catalog import load_benchmark
from pairuni_eval.records import Capability
from pairuni_eval.store.read import StoredRun
from pairuni_eval.tiny import prompts
from pairuni_eval.tiny.world import Scene, render

BENCHMARKS = "tiny-geneval,tiny-imgedit,tiny-pope"
FILE = """\
name = "Yes and circles"
[understand]
checkpoint = "scripted:yes.jsonl"
[generate]
checkpoint = "recorded:drawn"
[edit]
checkpoint = "recorded:edited"
"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Half of the first prompt's pictures, in GenEval's own folders; one of the second's."""
    benchmark = load_benchmark("tiny-geneval")
    samples = benchmark.samples(benchmark.data(None))
    for number, reference, draws in (
        (0, next(samples).sample.reference, (0, 1)),
        (1, next(samples).sample.reference, (3,)),
    ):
        place = tmp_path / "pair" / "drawn" / f"{number:05d}"
        (place / "samples").mkdir(parents=True)
        (place / "metadata.jsonl").write_text(json.dumps(reference))
        for draw in draws:
            right = render(prompts.sample_scene(random.Random(draw), reference))
            right.save(place / "samples" / f"{draw:04d}.png")
    return tmp_path / "pair"


@pytest.fixture
def composition(pictures: Path) -> str:
    (pictures / "yes.jsonl").write_text('{"prompt": "*", "text": "yes"}\n')
    (pictures / "edited").mkdir()
    render(Scene(())).save(pictures / "edited" / "2.png")
    (pictures / "both.toml").write_text(FILE)
    return f"pair:{pictures / 'both.toml'}"


def test_a_pair_is_one_row_that_names_its_parts(cli: Cli, composition: str) -> None:
    asked = ("run", "--checkpoint", composition, "--benchmarks", BENCHMARKS, "--limit", 2)
    ran = cli(*asked, "--out", "r", "--report", "page")
    assert ran.code == 0, ran.err
    run = StoredRun(Path("r"))
    assert run.card.checkpoint.name == "Yes and circles"
    parts = run.card.checkpoint.parts
    assert isinstance(parts, dict)
    assert {key: (one.adapter, one.name) for key, one in parts.items()} == {
        Capability.UNDERSTAND: ("scripted", "yes"),
        Capability.GENERATE: ("recorded", "drawn"),
        Capability.EDIT: ("recorded", "edited"),
    }
    sizes = {name: part.batch_size for name, part in run.card.benchmarks.items()}
    assert sizes == {"tiny-geneval": 16, "tiny-imgedit": 16, "tiny-pope": 16}
    errors = run.outputs["error"].dropna()
    assert list(errors) == ["the folder has no picture for this sample"] * (5 + 1)
    for page in (Path("page/report.md"), Path("page/report.html")):
        text = page.read_text(encoding="utf-8")
        for words in ("Yes and circles", "To understand", "To generate", "To edit", "drawn"):
            assert words in text, page
    before = Path("r/COMPLETE").read_bytes()
    assert cli(*asked, "--out", "r", "--report", "none").code == 0
    assert Path("r/COMPLETE").read_bytes() == before
    Path(composition.removeprefix("pair:")).write_text(FILE.replace("drawn", "edited"))
    other = cli(*asked, "--out", "r", "--report", "none")
    assert other.code == 2
    assert "r holds another run: its checkpoint is" in other.error


def test_pictures_in_genevals_folders_are_graded(cli: Cli, pictures: Path) -> None:
    (pictures / "drawn" / "notes.txt").write_text("")
    asked = ("grade", "--benchmark", "tiny-geneval", "--limit", 1, "--json")
    ran = cli(*asked, "--responses", pictures / "drawn")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["statuses"] == {"missing_output": 2, "scored": 2}
    assert found["metrics"]["images"]["value"] == 1.0
    assert "are no pictures of samples: 1 (first: notes.txt)" in ran.err
    refused = cli(*asked, "--responses", pictures)
    assert refused.code == 2
    assert "pair is a folder of no layout that is read; it holds: drawn" in refused.error
