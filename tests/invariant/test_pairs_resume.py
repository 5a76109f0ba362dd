"""A build that is killed again and again ends with the bytes of one that was never stopped."""

from __future__ import annotations

import os
from pathlib import Path

from support.fork_server import Child
from support.pair_sources import small, write_config

from pairuni_train.pair_data.build import build

# Two stores, a part and the whole of each side's features, clusters, completions, a part, a wave
# and the whole of the neighbors, arm.
NAMES = 2 + 4 + 2 + 3 + 1


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_a_build_killed_at_every_stage_ends_as_if_nothing_had_happened(
    fork_server: str, tmp_path: Path
) -> None:
    rows = [{"kind": "tiny", "rows": 20}]
    encoder = {"name": "colors"}  # the stages are the same, and no process has weights to load
    read = small(
        tmp_path,
        arms=["pairug"],
        understanding=rows,
        generation=rows,
        encoder=encoder,
        pairs=6,
    )
    build(read, tmp_path / "straight")
    said = tmp_path / "said"
    with said.open("wb") as file, Path(os.devnull).open("rb") as nothing:
        words = (read.path, tmp_path / "killed")
        child = Child(fork_server, "support.kill_build", words, (nothing, file, file))
        assert child.wait() == 0, said.read_text()
    assert int(said.read_text().splitlines()[-1]) == NAMES - 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_the_same_command_makes_nothing_anew(tmp_path: Path) -> None:
    read = small(tmp_path, arms=["pairug", "unpaired"])
    build(read, tmp_path / "out")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    made |= {path: path.stat().st_mtime_ns for path in (tmp_path / "out/stages").rglob("*")}
    build(read, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_changed_threshold_keeps_what_comes_before_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(small(tmp_path, arms=["pairug"]), out)
    before = {path.name for path in (out / "stages").iterdir()}
    write_config(tmp_path / "small.toml", arms=["pairug"], retrieval={"threshold": 0.8})
    build(small(tmp_path, arms=["pairug"], retrieval={"threshold": 0.8}), out)
    new = {path.name for path in (out / "stages").iterdir()} - before
    assert [name.partition("-")[0] for name in new] == ["retrieved"]


def test_a_stored_configuration_gives_the_same_sets(tmp_path: Path) -> None:
    from pairuni_train.pair_data.config import read_config

    build(small(tmp_path, arms=["pairug"]), tmp_path / "a")
    build(read_config(tmp_path / "a" / "config.json"), tmp_path / "b")
    first, second = (tmp_path / name / "pairug.parquet" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
