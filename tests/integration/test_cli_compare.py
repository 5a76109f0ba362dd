"""`pairuni-eval compare` and `report` at the command line: what they print and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from support import example_run as example
from support.unfinished_runs import unfinished

from pairuni_eval.catalog import suite_baselines
from pairuni_eval.errors import UserError
from pairuni_eval.store import layout
from pairuni_eval.store.partial_run import PartialRun, open_run

pytestmark = pytest.mark.light


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on two tiny benchmarks, and one on none of them."""
    root = tmp_path_factory.mktemp("compare")
    both = example.cards(40)[:2]
    for name, skill in (("good", 1.0), ("poor", 0.2)):
        example.write_run(root / name, name=name, skill=skill, count=40, benchmarks=both)
    example.write_run(root / "apart", name="apart", count=4, benchmarks=[example.cards(4)[5]])
    return root


def test_a_table_of_the_headlines_and_sentences_of_the_groups(cli: Any, runs: Path) -> None:
    ran = cli("compare", runs / "good", runs / "poor")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("good against poor")
    lines = ran.out.splitlines()
    (n,) = [n for n, line in enumerate(lines) if "tiny-mmstar@official" in line]
    assert re.search(r"tiny-mmstar@official\s+[\d.]+\s+92\.5\s+\+[\d.]+\s+▲ better", lines[n])
    assert re.search(r"Accuracy\s+\[[\d.]+, [\d.]+\]\s+(?:< )?0\.\d+", lines[n + 1])
    assert lines[n + 2].strip() == "40 shared of 40 planned"
    assert "\nBetter than poor at Tiny MMMU (+" in ran.out
    assert re.search(
        r"(?m)^color \(Tiny MMStar\) is better than poor: \d+ -> \d+ of 14, p ", ran.out
    )
    assert ran.next == f"pairuni-eval report {runs / 'good'} --baseline poor={runs / 'poor'}"
    table = ran.out.partition("\nBetter")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_the_other_way_round_it_is_worse(cli: Any, runs: Path) -> None:
    ran = cli("compare", runs / "poor", runs / "good")
    assert ran.code == 0 and "▼ worse" in ran.out and "▲ better" not in ran.out


def test_json_for_programs(cli: Any, runs: Path) -> None:
    ran = cli("compare", runs / "good", runs / "poor", "--json")
    found = json.loads(ran.out)
    assert found["a"]["name"] == "good" and found["a"]["partial"] is False
    (headline,) = [
        row for row in found["differences"] if row["headline"] and row["benchmark"] == "tiny-mmstar"
    ]
    assert headline["ours"] == 37 / 40  # three answers cannot be read and count as wrong
    assert headline["word"] == "better" and headline["shared"] == 40
    assert headline["counts"]["ours"] == 37
    assert {row["group"] for row in found["groups"]} == {"count", "color", "commonsense_reasoning"}
    assert found["refusals"] == []


def test_runs_without_a_common_benchmark_are_refused_with_the_reason(cli: Any, runs: Path) -> None:
    ran = cli("compare", runs / "good", runs / "apart")
    assert ran.code == 2
    assert "tiny-mmmu: the other side was not measured on it" in ran.error
    assert ran.next


def test_a_folder_that_is_no_run_is_refused(cli: Any, runs: Path, tmp_path: Path) -> None:
    ran = cli("compare", runs / "good", tmp_path)
    assert ran.code == 2 and "is not a run folder: it has no run.json" in ran.error


def test_what_may_have_been_meant_is_named(cli: Any, runs: Path, tmp_path: Path) -> None:
    above = cli("compare", runs / "good", runs)
    assert above.next == "Name one of the runs in it: apart, good, poor"
    assert cli("compare", runs / "good", runs / "pour").next == f"Did you mean {runs / 'poor'}?"
    for step in (9, 40, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    wanted = f"pairuni-eval run --checkpoint {tmp_path / 'checkpoint-100'}"
    assert cli("compare", runs / "good", tmp_path).next.endswith(wanted)


def test_a_run_against_itself_is_tied(cli: Any, runs: Path) -> None:
    ran = cli("compare", runs / "good", runs / "good")
    assert "both are the same weights." in ran.out
    assert "tests in 4 families (2 headlines, " in ran.out
    assert ran.out.startswith("good (A) against good (B)") and ran.out.count("= tied") == 2
    assert "No group differs detectably." in ran.out


def test_a_part_of_a_benchmark_is_stamped(cli: Any, tmp_path: Path) -> None:
    both = example.cards(100)[:1]
    for name, skill in (("a", 0.9), ("b", 0.2)):
        example.write_run(tmp_path / name, name=name, skill=skill, count=20, benchmarks=both)
    out = cli("compare", tmp_path / "a", tmp_path / "b").out
    assert "PARTIAL" in out
    assert json.loads(cli("compare", tmp_path / "a", tmp_path / "b", "--json").out)["b"]["partial"]


def test_tiny_weights_are_named_on_a_benchmark_that_is_not_tiny(cli: Any, tmp_path: Path) -> None:
    card = msgspec.structs.replace(example.cards(20)[1], name="asks", title="Asks", tiny=False)
    for name, skill in (("tiny", 0.9), ("other", 0.2)):
        rows = example.graded(card, 20, skill, example.random.Random(name))
        example.store(tmp_path / name, [card], {"asks": rows}, name=name)
    assert "asks@official (tiny)" in cli("compare", tmp_path / "tiny", tmp_path / "other").out


def test_an_unfinished_run_reads_as_the_finished_one(runs: Path, tmp_path: Path) -> None:
    whole = open_run(runs / "good")
    part = open_run(unfinished(runs / "good", tmp_path / "part", graded=80))
    assert isinstance(part, PartialRun) and not isinstance(whole, PartialRun)
    for name in ("samples", "outputs", "scores"):
        one, two = (
            getattr(run, name).astype(object).where(lambda frame: frame.notna(), None)
            for run in (whole, part)
        )
        pd.testing.assert_frame_equal(one, two, check_dtype=False)
    assert part.opinions.empty and part.cards.keys() == whole.cards.keys()


def test_an_unfinished_run_is_reported_as_partial(cli: Any, runs: Path, tmp_path: Path) -> None:
    unfinished(runs / "good", tmp_path / "part", graded=30)
    ran = cli("report", tmp_path / "part", "--out", tmp_path / "out", "--baseline", "none")
    assert ran.code == 0, ran.err
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<title>PARTIAL" in page and "The run has not ended" in page
    assert "30 of 80 expected outputs have a value" in page
    assert "not graded yet" in page
    out = cli("compare", tmp_path / "part", runs / "poor").out
    assert "PARTIAL" in out
    assert out.startswith("good PARTIAL against poor")
    assert "not compared on Tiny MMStar; this checkpoint, one seed.\n" in out
    assert "another seed could change the verdict; a word about the arm needs three" in out
    assert "30 shared of 30 planned" in out  # what was not reached counts for nothing
    lacking = "tiny-mmstar@official, accuracy: no output has a value on both sides."
    assert f"Not compared: {lacking}" in out


def test_a_run_without_scores_says_how_to_go_on(cli: Any, runs: Path, tmp_path: Path) -> None:
    unfinished(runs / "good", tmp_path / "part", graded=0)
    ran = cli("compare", tmp_path / "part", runs / "poor")
    assert ran.code == 2
    assert "is not complete, and none of its 80 outputs is graded yet" in ran.error
    assert ran.next.startswith("Continue it: pairuni-eval run --checkpoint good")


def test_sources_that_are_no_pairs_are_refused(cli: Any, runs: Path) -> None:
    for option in ("--baseline", "--training"):
        ran = cli("report", runs / "good", option, "runs/grpo")
        assert ran.code == 2 and f"{option} 'runs/grpo' is not of the form NAME=FOLDER" in ran.error


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training seeds of two recipes: ours-0 to ours-2 are better than grpo-0 to grpo-2."""
    root = tmp_path_factory.mktemp("seeds")
    for name, skill in (("ours", 0.95), ("grpo", 0.3)):
        for seed in range(3):
            example.write_run(
                root / f"{name}-{seed}",
                name=f"{name}-{seed}",
                skill=skill,
                seed=seed,
                count=48,
                benchmarks=example.choice_cards(48)[1:],
                with_images=False,
            )
    return root


def test_three_seeds_of_both_sides_speak_about_the_recipe(
    cli: Any, seeds: Path, tmp_path: Path
) -> None:
    siblings = [word for n in (1, 2) for word in ("--sibling", seeds / f"ours-{n}")]
    baselines = [word for n in range(3) for word in ("--baseline", f"GRPO={seeds / f'grpo-{n}'}")]
    ran = cli("report", seeds / "ours-0", "--out", tmp_path / "out", *siblings, *baselines)
    assert ran.code == 0, ran.err
    (said,) = json.loads((tmp_path / "out" / "summary.json").read_text())["baselines"].values()
    (headline,) = [row for row in said["differences"] if row["headline"]]
    assert said["scope"] is None
    assert said["sentence"].endswith("; 3 seeds a side, about the arm.")
    for name in ("report.html", "report.md"):
        page = (tmp_path / "out" / name).read_text()
        assert "This run, mean of 3 seeds" in page and "GRPO, mean of 3 seeds" in page
        assert "3 seeds of this run's arm; GRPO 3 seeds" in unescape(page)
    assert headline["seeds"] == [3, 3] and headline["test"] == "t over seeds and units"
    assert headline["word"] == "better"
    one_short = cli(
        "report", seeds / "ours-0", "--out", tmp_path / "out", *siblings[:2], *baselines
    )
    assert one_short.code == 0
    (said,) = json.loads((tmp_path / "out" / "summary.json").read_text())["baselines"].values()
    assert said["scope"] == "these checkpoints, two seeds"
    assert said["sentence"].endswith("; these checkpoints, two seeds.")
    page = (tmp_path / "out" / "report.html").read_text()
    warning = "ours-0 is two training seeds; another seed could change the verdict."
    needed = "A word about the arm needs three training seeds a side: --sibling RUN"
    assert page.count(f"{warning} {needed}") == 1
    assert "This run, mean of 2 seeds" in page and "GRPO, mean of 3 seeds" in page


def test_a_seed_that_is_no_other_seed_is_refused(cli: Any, seeds: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    twice = [word for _ in range(2) for word in ("--baseline", f"GRPO={seeds / 'grpo-0'}")]
    ran = cli("report", seeds / "ours-0", *out, *twice)
    assert (
        ran.code == 2 and "given as training seeds of GRPO, but are runs of the same" in ran.error
    )
    ran = cli("report", seeds / "ours-0", *out, "--sibling", seeds / "ours-0")
    assert ran.code == 2 and "given as training seeds of ours-0" in ran.error and ran.next
    ran = cli("report", seeds / "ours-0", *out, "--sibling", tmp_path)
    assert ran.code == 2 and "is not a run folder" in ran.error


def test_a_training_folder_that_is_none_is_refused(cli: Any, runs: Path, tmp_path: Path) -> None:
    ran = cli("report", runs / "good", "--training", f"good={tmp_path}")
    assert ran.code == 2 and "is not a training folder" in ran.error


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Path) -> Path:
    """A package on the path that brings a suite with a baseline, found by its entry point."""
    package = tmp_path / "acme_registry"
    (package / "suites").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "suites" / "acme.toml").write_text(
        'name = "acme"\ntitle = "Acme"\nbenchmarks = ["tiny-mmmu"]\n'
        'baselines = { GRPO = "baselines/grpo" }\n'
    )
    shutil.copytree(runs / "poor", package / "baselines" / "grpo")
    info = tmp_path / "acme_registry-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-registry\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pairuni.benchmarks]\nacme = acme_registry\n")
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_suite_brings_its_baselines(suite: Path) -> None:
    assert suite_baselines("acme") == {"GRPO": suite / "baselines" / "grpo"}
    assert suite_baselines("nothing") == {}


def test_a_report_takes_the_baselines_of_its_suite(
    cli: Any, suite: Path, runs: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs / "good", tmp_path / "mine"))
    path = run / layout.RUN_FILE
    path.write_text(path.read_text().replace('"suite": "tiny"', '"suite": "acme"'))
    example.reseal(run)
    out = tmp_path / "out"
    assert cli("report", run, "--out", out).code == 0
    assert "against GRPO" in (out / "report.html").read_text()
    assert cli("report", run, "--out", out, "--baseline", "none").code == 0
    assert "against GRPO" not in (out / "report.html").read_text()
    assert cli("report", run, "--out", out, "--baseline", f"mine={runs / 'poor'}").code == 0
    assert "against mine" in (out / "report.html").read_text()


def test_a_baseline_that_is_not_there_is_named(suite: Path) -> None:
    shutil.rmtree(suite / "baselines")
    with pytest.raises(UserError, match=r"acme\.toml: the baseline 'GRPO' is not there"):
        suite_baselines("acme")


def test_an_undecided_row_has_the_interval_and_the_reason_of_the_report(
    cli: Any, tmp_path: Path
) -> None:
    """The same weights, whose answers are the same but for the last, which ours lacks."""
    rule = msgspec.structs.replace(example.cards(40)[0].protocols["official"], unparsed="excluded")
    card = msgspec.structs.replace(example.cards(40)[0], protocols={"official": rule})
    rows = [row for row in example.graded(card, 40, 0.7, example.random.Random(3)) if row.scores]
    rows = [
        row._replace(reply="Yes.", scores={"correct": float(n % 2)}) for n, row in enumerate(rows)
    ]
    lost = [*rows[:-1], rows[-1]._replace(reply=None, error="gone", scores={"correct": None})]
    for name, held in (("a", lost), ("b", rows)):
        example.store(tmp_path / name, [card], {card.name: held}, name=name, weights="w")
    out = cli("compare", tmp_path / "a", tmp_path / "b").out
    reason = "1 of 40 outputs of ours is missing; it may make the difference -2.5 to +0.0"
    assert f"Tiny MMMU, cannot tell: {reason}." in out
    assert "differs" not in out.partition("Not shown")[0]
    ran = cli(
        "report", tmp_path / "a", "--baseline", f"b={tmp_path / 'b'}", "--out", tmp_path / "r"
    )
    assert ran.code == 0
    page = (tmp_path / "r" / "report.md").read_text().replace("\\", "")
    assert reason.replace("-2.5", "\N{MINUS SIGN}2.5") in page
    (bounds,) = re.findall(r"\[\N{MINUS SIGN}[\d.]+, [\d.]+\]", out)
    assert bounds in page
