"""`pairuni-eval show` and `list`: looking at a run, and at what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.example_run import HOSTILE, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "r", count=20)


def test_a_sample_is_shown_with_everything_about_it(cli: Any, run: Path) -> None:
    ran = cli("show", "r", uid(run, "tiny-pope", "q0001"))
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith("tiny-pope  q0001  (")
    assert "  Is there a red circle? (question 1)" in lines
    assert "  answer: yes" in lines
    assert "output, draw 0:" in lines
    image = next(line for line in lines if line.startswith("  [image] "))
    assert Path(image.removeprefix("  [image] ")).is_file()
    assert any(re.fullmatch(r"  official: said_yes = [01]  \(scored\)  as read", x) for x in lines)
    assert ran.next == "pairuni-eval report r"


def uid(run: Path, benchmark: str, key: str) -> str:
    import pandas as pd

    samples = pd.read_parquet(run / "samples.parquet")
    mine = samples[(samples["benchmark"] == benchmark) & (samples["key"] == key)]
    return str(mine["uid"].iloc[0])


def test_a_uid_may_be_cut_short(cli: Any, run: Path) -> None:
    whole = uid(run, "tiny-mme", "q0003")
    assert cli("show", "r", whole[:16]).out == cli("show", "r", whole).out


def test_a_key_of_one_benchmark_is_enough(cli: Any, tmp_path: Path) -> None:
    from support.example_run import cards

    mine = [card for card in cards(20) if card.name == "tiny-pope"]
    write_run(tmp_path / "one", count=20, benchmarks=mine)
    for name in ("q0012", "q0012"[:5]):
        assert cli("show", "one", name).out.startswith("tiny-pope  q0012  (")


def test_only_the_protocols_asked_for_are_shown(cli: Any, run: Path) -> None:
    name = uid(run, "tiny-mmmu", "q0002")
    both, one = cli("show", "r", name).out, cli("show", "r", name, "--protocol", "lmms-eval").out
    assert "  official: correct" in both
    assert "  lmms-eval: correct" in both
    assert "  official: correct" not in one
    assert "  lmms-eval: correct" in one
    wrong = cli("show", "r", name, "--protocol", "oficial")
    assert wrong.code == 2
    assert "Did you mean 'official'" in wrong.error


def test_text_of_a_model_cannot_steer_the_terminal(cli: Any, run: Path) -> None:
    ran = cli("show", "r", uid(run, "tiny-pope", "q0005"))
    assert "\u202e" in HOSTILE
    assert "\u202e" not in ran.out
    assert "<script>alert(1)</script>" in ran.out  # shown as it is, harmless here


def test_a_key_of_several_samples_lists_them(cli: Any, run: Path) -> None:
    ran = cli("show", "r", "q0001")
    assert ran.code == 2
    assert "may be 4 samples" in ran.error
    assert "tiny-mmstar 'q0001'" in ran.error
    again = cli(*ran.next.split()[1:])
    assert again.code == 0


def test_an_unknown_sample_offers_the_nearest(cli: Any, run: Path) -> None:
    ran = cli("show", "r", "q00010")
    assert ran.code == 2
    assert "Did you mean 'q00" in ran.error


def test_a_folder_that_is_no_run_is_named(cli: Any, tmp_path: Path) -> None:
    ran = cli("show", tmp_path, "q0001")
    assert ran.code == 2
    assert str(tmp_path) in ran.error


# list


def listed(ran: Any) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(ran.out)}


def test_the_list_says_where_the_data_is(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_mmstar: Any
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = listed(cli("list", "benchmarks", "--json"))
    assert rows["tiny-pope"]["data"] == "made here"
    assert rows["geneval"]["data"] is None
    assert rows["geneval"]["source"] == "url:raw.githubusercontent.com/djghosh13/geneval"
    assert rows["mmstar"]["data"] is None
    assert rows["mmstar"]["hub"] == "Lin-Chen/MMStar"
    assert rows["pope"]["protocols"] == ["official", "lmms-eval", "vlmevalkit", "reasoning"]
    write_mmstar(tmp_path / "data", [])
    given = listed(cli("list", "benchmarks", "--json", "--data", tmp_path / "data"))
    assert given["mmstar"]["data"] == "folder"
    assert "data not here: hub:Lin-Chen/MMStar" in cli("list").out


def test_what_the_hub_client_has_cached_is_at_hand(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import try_to_load_from_cache

    from pairuni_eval.catalog import find_card

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    card = find_card("mmstar")
    assert card.data.hub is not None
    repository = tmp_path / "hub" / f"datasets--{card.data.hub.replace('/', '--')}"
    data = repository / "snapshots" / card.data.revision / "mmstar.parquet"
    data.parent.mkdir(parents=True)
    data.touch()
    found = try_to_load_from_cache(
        card.data.hub,
        "mmstar.parquet",
        cache_dir=tmp_path / "hub",
        revision=card.data.revision,
        repo_type="dataset",
    )
    assert found == str(data)  # this is where the client itself looks
    rows = listed(cli("list", "benchmarks", "--json"))
    assert rows["mmstar"]["data"] == f"hub:{card.data.hub}"


def test_suites_and_models_are_listed_for_programs(cli: Any) -> None:
    assert listed(cli("list", "suites", "--json"))["smoke"]["benchmarks"] == [
        "tiny-pope",
        "tiny-geneval",
    ]
    assert "recorded" in listed(cli("list", "models", "--json"))
