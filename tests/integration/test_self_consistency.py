"""One command draws with the tiny model, and asks it what it drew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pairuni_eval.store.read import StoredRun


def test_one_command_draws_and_then_asks(cli: Any, tmp_path: Path) -> None:
    words = ("run", "--checkpoint", "tiny", "--benchmarks", "self:tiny-geneval", "--limit", "2")
    ran = cli(*words, "--out", tmp_path / "r", "--report", "none")
    assert ran.code == 0, ran.err
    drawn, asked = StoredRun(tmp_path / "r"), StoredRun(tmp_path / "r-self")
    assert list(drawn.card.benchmarks) == ["tiny-geneval", "tiny-geneval-more"]
    assert drawn.card.limit == 2 and len(drawn.outputs) == 2 * 2 * 4
    assert list(asked.card.benchmarks) == ["self:tiny-geneval"]
    assert asked.card.partial and asked.card.limit is None
    assert f"--painter {tmp_path / 'r'}" in asked.card.command
    named = set(asked.samples["reference"].map(lambda cell: json.loads(cell)["output"]))
    assert named <= set(drawn.outputs["id"])
    assert set(asked.outputs["parts"].map(lambda cell: json.loads(cell)[0]["text"])) <= {
        "yes",
        "no",
    }
    again = cli(*words, "--out", tmp_path / "r", "--report", "none")
    assert again.code == 0 and StoredRun(tmp_path / "r-self").seal == asked.seal
    table = cli("readers", tmp_path / "r-self")
    assert table.code == 0 and "pictures of r" in table.out
    refused = cli("readers", tmp_path / "r")
    assert refused.code == 2 and "asks a model about drawn pictures" in refused.err


def test_two_runs_are_not_made_by_shards(cli: Any, tmp_path: Path) -> None:
    words = ("run", "--checkpoint", "tiny", "--benchmarks", "self:tiny-geneval", "--shard", "1/2")
    refused = cli(*words, "--out", tmp_path / "r")
    assert refused.code == 2 and "--painter" in refused.err
    assert not (tmp_path / "r").exists()
