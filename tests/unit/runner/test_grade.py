"""What the grader does before and after a scorer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from support import geneval_rows

from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store.read import StoredRun

DRAWN = ("tiny-geneval", "tiny-wise", "tiny-imgedit", "geneval")


def scripted_run(folder: Path, lines: list[dict[str, str]], *benchmarks: str) -> StoredRun:
    """A run of two samples per benchmark whose outputs are written in a file."""
    script = folder / "script.jsonl"
    script.write_text("\n".join(json.dumps(line) for line in lines))
    settings = RunSettings(
        checkpoint=f"scripted:{script}",
        out=folder / "run",
        benchmarks=benchmarks,
        data=geneval_rows.write(folder / "data", 2),
        limit=2,
    )
    return StoredRun(measure(settings, Console(quiet=True)))


@pytest.fixture
def in_words(tmp_path: Path) -> StoredRun:
    return scripted_run(tmp_path, [{"prompt": "*", "text": "no"}], *DRAWN)


def test_words_instead_of_a_picture_are_a_missing_output_not_a_zero(in_words: StoredRun) -> None:
    scores = in_words.scores
    assert set(scores["status"]) == {"missing_output"}
    assert set(scores["verdict"]) == {"no picture"}
    assert scores["value"].isna().all()


def test_every_output_has_every_metric_of_its_protocol(in_words: StoredRun) -> None:
    for name, card in in_words.cards.items():
        for protocol, spec in card.protocols.items():
            mine = in_words.scores[in_words.scores["protocol"] == f"{name}@{protocol}"]
            found = mine.groupby("output")["metric"].agg(set)
            assert len(found) == 2 * card.draws
            assert all(metrics == {metric.of for metric in spec.metrics} for metrics in found)


def test_a_prompt_without_a_line_is_an_error_on_its_row(tmp_path: Path) -> None:
    run = scripted_run(tmp_path, [{"prompt": "something else", "text": "no"}], "tiny-pope")
    assert set(run.outputs["error"]) == {"the script has no line for this prompt"}
    assert set(run.scores["status"]) == {"missing_output"}
