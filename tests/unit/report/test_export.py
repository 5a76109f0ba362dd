"""The files beside a report: every reader gets its own escaping, and the hub only what holds."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from support import example_run as example

from pairuni_eval.cards import Card, DataSpec
from pairuni_eval.report.build import build_report
from pairuni_eval.report.export import FILES, escape_latex
from pairuni_eval.store.read import StoredRun

HUB = DataSpec(hub="made/up", revision="0f" * 20)


def real_card() -> Card:
    """A benchmark that is not tiny and whose data is on the hub."""
    return msgspec.structs.replace(example.geneval_card(6), data=HUB)


def drawn(card: Card, right: int) -> list[example.Graded]:
    rows = example.graded(card, 6, 1.0, example.random.Random(1))
    return [
        row._replace(scores={"correct": float(n < right)}, skipped=None)
        for n, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on one real and one tiny benchmark with a baseline."""
    root = tmp_path_factory.mktemp("exports")
    real, tiny = real_card(), example.cards(12)[1]
    for name, right, skill in (("a", 4, 0.9), ("b", 3, 0.5)):
        answers = example.graded(tiny, 12, skill, example.random.Random(2))
        rows = {real.name: drawn(real, right), tiny.name: answers}
        example.store(root / name, [real, tiny], rows, name=f"run_{name} & co")
    build_report(StoredRun(root / "a"), root / "out", {"=GRPO": StoredRun(root / "b")})
    return root / "out"


def sheet(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_file_is_there(out: Path) -> None:
    assert all((out / name).stat().st_size for name in FILES)


def test_metrics_are_unscaled_and_say_what_is_tiny(out: Path) -> None:
    rows = sheet(out / "metrics.csv")
    (whole,) = [r for r in rows if r["benchmark"] == "geneval" and not r["group"]]
    assert (whole["value"], whole["scored"], whole["expected"]) == ("0.6666666666666666", "6", "6")
    assert (whole["tiny"], whole["headline"], whole["partial"]) == ("no", "yes", "no")
    groups = {r["group"]: r["value"] for r in rows if r["benchmark"] == "geneval" and r["group"]}
    assert groups == {"single object": "1.0", "two objects": "0.5", "counting": "0.5"}
    assert {r["tiny"] for r in rows if r["benchmark"] == "tiny-mmstar"} == {"yes"}


def test_differences_name_the_baseline_and_no_cell_is_a_formula(out: Path) -> None:
    rows = sheet(out / "differences.csv")
    (row,) = [r for r in rows if r["benchmark"] == "geneval" and not r["group"]]
    groups = [r["group"] for r in rows if r["benchmark"] == "geneval" and r["group"]]
    assert groups == ["single object", "two objects", "counting"]
    assert row["baseline"] == "'=GRPO"
    assert float(row["difference"]) == pytest.approx(1 / 6)
    assert row["shared"] == row["planned"] == "6" and row["word"] == "cannot tell"
    assert float(row["joint_low"]) <= 0 <= float(row["joint_high"])
    assert float(row["p"]) <= float(row["p_holm"]) and float(row["detectable"]) > 0


@pytest.mark.parametrize(
    ("given", "literal"),
    [
        ("50 % of a_b & c#1", r"50 \% of a\_b \& c\#1"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        (
            "a~b^c<d>|$",
            r"a\textasciitilde{}b\textasciicircum{}c\textless{}d\textgreater{}\textbar{}\$",
        ),
        ("two\nlines", "two lines"),
        ("\N{MINUS SIGN}1.2 \N{EN DASH}", "$-$1.2 --"),
    ],
)
def test_latex_is_escaped(given: str, literal: str) -> None:
    assert escape_latex(given) == literal


def test_tables_have_one_width_and_the_tiny_ones_are_apart(out: Path) -> None:
    content = (out / "tables.tex").read_text()
    tables = re.findall(r"\\begin\{tabular\}\{(.*?)\}(.*?)\\end\{tabular\}", content, re.S)
    assert len(tables) == 4  # two headlines, two groups
    for columns, body in tables:
        for line in body.splitlines():
            if line.rstrip().endswith(r"\\"):
                cells = len(re.findall(r"(?<!\\)&", line)) + 1
                spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", line))
                assert cells + spanned == len(columns), line
    real, tiny = tables[0][1], tables[1][1]
    assert "GenEval" in real and "MMStar" not in real
    assert "Tiny MMStar (tiny)" in tiny and "GenEval" not in tiny
    assert r"run\_a \& co" in content


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_tables_compile(out: Path, tmp_path: Path) -> None:
    body = (out / "tables.tex").read_text()
    (tmp_path / "t.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}" + body + "\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def entries(path: Path) -> list[Any]:
    return list(parse_eval_result_entries(yaml.safe_load(path.read_text(encoding="utf-8"))))


def test_the_hub_reads_whole_benchmarks_that_are_not_tiny(out: Path) -> None:
    content = (out / "eval_results.yaml").read_text()
    (entry,) = entries(out / "eval_results.yaml")
    assert (entry.dataset_id, entry.task_id, entry.value) == ("made/up", "default", 66.667)
    assert entry.notes.startswith("geneval@official, overall, 95 % interval [")
    assert entry.notes.endswith("6 of 6 outputs have a value")
    assert "# tiny-mmstar is left out: a tiny number." in content


def test_a_part_of_a_benchmark_is_not_for_the_hub(tmp_path: Path) -> None:
    card = msgspec.structs.replace(real_card(), expected=100)
    example.store(tmp_path / "a", [card], {card.name: drawn(card, 4)}, name="janus-pro-1b")
    build_report(StoredRun(tmp_path / "a"), tmp_path / "out", {})
    assert entries(tmp_path / "out" / "eval_results.yaml") == []
    content = (tmp_path / "out" / "eval_results.yaml").read_text()
    assert "# geneval is left out: PARTIAL, 6 of 100 samples." in content
    assert r"\textbf{PARTIAL}" in (tmp_path / "out" / "tables.tex").read_text()
    assert {row["partial"] for row in sheet(tmp_path / "out" / "metrics.csv")} == {"yes"}


def test_a_benchmark_with_missing_values_is_exported_only_when_asked(
    tmp_path: Path, cli: Any
) -> None:
    card = msgspec.structs.replace(example.geneval_card(6), data=HUB)
    rows = drawn(card, 4)
    rows[5] = rows[5]._replace(reply=None, error="the endpoint refused", scores={})
    example.store(tmp_path / "a", [card], {card.name: rows}, name="janus-pro-1b")
    given = ("report", tmp_path / "a", "--out", tmp_path / "out")
    ran = cli(*given)
    content = (tmp_path / "out" / "eval_results.yaml").read_text()
    reason = "5 of 6 outputs have a value"
    assert f"# geneval is left out: {reason}." in content and yaml.safe_load(content) == []
    assert f"eval_results.yaml leaves out geneval: {reason}; --partial-results" in ran.err
    assert f"without geneval: {reason}" in (tmp_path / "out" / "report.html").read_text()
    ran = cli(*given, "--partial-results")
    (entry,) = yaml.safe_load((tmp_path / "out" / "eval_results.yaml").read_text())
    assert reason in entry["notes"] and "leaves out geneval" not in ran.err
