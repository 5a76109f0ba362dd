"""Every file for other programs is what its JSON Schema says, and every field is described."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import ROOT
from support import example_run as example
from support.command_line import Cli

from pairuni_eval.records import GradientRow
from pairuni_eval.report.build import build_report
from pairuni_eval.report.formats import ComparisonFile, DifferenceRow, FormatRecord
from pairuni_eval.report.schema import SCHEMAS, attributes, schemas, tables
from pairuni_eval.report.summary_format import SummaryFile
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import GRADIENTS, METRICS


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All benchmarks of the example against a run with fewer rows, with gradients and pairs."""
    root = tmp_path_factory.mktemp("formats")
    run = StoredRun(example.write_run(root / "a", name="a", skill=0.9, count=12))
    other = StoredRun(example.write_run(root / "b", name="b", skill=0.4, count=10, expected=12))
    (root / "probed").mkdir()
    rows = [msgspec.json.encode(gradient(step, arm)) for step in range(8) for arm in ("a", "b")]
    (root / "probed" / GRADIENTS).write_bytes(b"\n".join(rows) + b"\n")
    (root / "probed" / METRICS).write_text('{"step": 0, "reward/und": 0.5}\n')
    image = pa.array([None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pairs = {"id": ["p"], "question": ["Who?"], "prompt": ["a lake"], "understanding_image": image}
    pq.write_table(pa.table(pairs), root / "pairs.parquet")
    return build_report(
        run, root / "out", {"b": other}, {"a": [root / "probed"]}, root / "pairs.parquet"
    ).parent


def gradient(step: int, scenario: str) -> GradientRow:
    dot = 0.1 + 0.01 * step
    return GradientRow(
        scenario=scenario,
        step=step,
        block="all",
        preconditioned=False,
        tasks=(1.0, dot, 1.0),
        und_halves=(1.0, 0.5, 1.0),
        gen_halves=(1.0, 0.6, 1.0),
        und_live=1.0,
        gen_live=1.0,
        rows=8,
    )


def lines(report: Path) -> list[dict[str, Any]]:
    """Differences.csv with its cells as docs/formats.md says."""
    kinds = {
        name: json.dumps(rule)
        for name, rule in schemas()["differences.schema.json"]["$defs"]["DifferenceRow"][
            "properties"
        ].items()
    }
    with (report / "differences.csv").open(newline="") as stream:
        return [
            {name: _cell(value, kinds[name]) for name, value in row.items()}
            for row in csv.DictReader(stream)
        ]


def _cell(text: str, kind: str) -> Any:
    if text == "":
        return None
    if '"boolean"' in kind:
        return {"yes": True, "no": False}[text]
    return float(text) if '"number"' in kind else int(text) if '"integer"' in kind else text


def compared(cli: Cli, report: Path) -> dict[str, Any]:
    ran = cli("compare", report.parent / "a", report.parent / "b", "--json")
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_real_files_are_what_their_records_say(cli: Cli, report: Path) -> None:
    """Strictly: no field more, none fewer, no other type."""
    summary = json.loads((report / "summary.json").read_text())
    msgspec.convert(summary, SummaryFile)
    msgspec.convert(compared(cli, report), ComparisonFile)
    rows = lines(report)
    msgspec.convert(rows, list[DifferenceRow])
    assert any(row["group"] for row in rows) and any(row["joint_low"] is not None for row in rows)
    baseline = summary["baselines"]["b"]
    assert len(rows) == len(baseline["differences"]) + len(baseline["groups"])
    first, entry = rows[0], baseline["differences"][0]
    assert [first["joint_low"], first["joint_high"]] == entry["joint"]
    assert first["p_holm"] == entry["p_holm"] and first["planned"] == entry["planned"]
    for part in ("gradients", "contamination"):
        assert part in summary


def test_real_files_are_what_their_schemas_say(cli: Cli, report: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    files = {
        "summary.schema.json": [json.loads((report / "summary.json").read_text())],
        "comparison.schema.json": [compared(cli, report)],
        "differences.schema.json": lines(report),
    }
    for name, found in files.items():
        validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / name).read_text()))
        validator.check_schema(validator.schema)
        for one in found:
            validator.validate(one)
        wrong = found[0] | {"a field that nobody described": 1}
        assert not validator.is_valid(wrong)


def test_what_is_shipped_is_made_from_the_records() -> None:
    """Else: python -m pairuni_eval.report.schema."""
    for name, made in schemas().items():
        assert json.loads((SCHEMAS / name).read_text()) == made
    assert (ROOT / "docs/formats.md").read_text().partition("## Records\n\n")[2] == tables()


def test_every_field_is_described() -> None:
    for name, made in schemas().items():
        for title, part in made["$defs"].items():
            assert part["description"], (name, title)
            assert all(rule["description"] for rule in part["properties"].values()), (name, title)
            assert part["additionalProperties"] is False
    for record in FormatRecord.__subclasses__():
        assert set(attributes(record)) == set(record.__struct_encode_fields__), record.__name__


def test_what_changed_is_said_of_every_number() -> None:
    page = (ROOT / "docs/formats.md").read_text()
    changes = page.partition("## What changed")[2].partition("\n## ")[0]
    for made in schemas().values():
        assert f"| `{made['title']}` |" in changes
