"""Families: benchmarks made on demand by a stranger's package, with figures of its own toolkit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from pairuni_eval import catalog
from pairuni_eval.api import (
    Answer,
    Benchmark,
    Capability,
    Card,
    Data,
    Figure,
    Item,
    Judge,
    Mark,
    MetricSpec,
    ProtocolSpec,
    Score,
    Status,
    UserError,
)
from pairuni_eval.errors import unknown_name
from pairuni_eval.store.read import StoredRun

SIZES = {"few": 3, "many": 5}


class Count(Benchmark):
    """Asks for numbers; the sum of all right ones is known to another toolkit alone."""

    def count(self, data: Data) -> int:
        return SIZES[self.card.name.partition(":")[2]]

    def samples(self, data: Data) -> Iterator[Item]:
        for number in range(self.count(data)):
            yield self.item(key=str(number), parts=(f"say {number}",), reference={"n": number})

    def mark(self, answer: Answer, *, protocol: str, judge: Judge | None) -> list[Mark]:
        right = answer.text == str(answer.sample.reference["n"])
        number = float(right) if self.card.name == "odd:few" else None
        return [Mark("row", number, verdict=json.dumps([right, answer.sample.key]))]

    def figures(self, scores: Sequence[Score], *, protocol: str) -> list[Figure]:
        rows = [json.loads(s.verdict or "") for s in scores if s.status is Status.SCORED]
        total = sum(int(key) for right, key in rows if right)
        made = {"protocol": f"{self.card.name}@{protocol}", "rows": len(rows), "source": "odd 1.0"}
        return [
            Figure(metric="total", value=float(total), **made),
            Figure(metric="mode|", value=None, note="there is none", **made),
        ]


class Odd:
    """The family itself."""

    @classmethod
    def load(cls, name: str) -> Benchmark:
        if name == "astray":
            return Count(card("few"), Path())
        if name not in SIZES:
            raise unknown_name("count", name, SIZES, list_command="pairuni-eval list benchmarks")
        return Count(card(name), Path())


def card(name: str) -> Card:
    mean = MetricSpec(name="row", of="row", scale=1.0, decimals=4)
    rule = ProtocolSpec(summary="Equal.", source="odd", headline="row", metrics=(mean,))
    return Card(
        name=f"odd:{name}",
        title=f"Odd {name}",
        summary="Numbers.",
        version="1",
        capability=Capability.UNDERSTAND,
        expected=0,
        unit="prompt",
        licence="none",
        protocols={"odd": rule},
    )


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The family beside the installed ones, as its package would bring it."""
    former = catalog._entry_points
    here = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "strange_family", here)
    own = EntryPoint("odd", "strange_family:Odd", "pairuni.families")
    monkeypatch.setattr(
        catalog,
        "_entry_points",
        lambda kind: [*former(kind), *([own] if kind == "families" else [])],
    )


def test_a_member_is_made_on_demand_and_not_listed() -> None:
    assert catalog.find_card("odd:many").title == "Odd many"
    assert isinstance(catalog.load_benchmark("odd:few"), Count)
    assert not any(one.name.startswith("odd:") for one in catalog.all_cards())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("odd:fw", "Unknown count 'fw'. Did you mean 'few'? Known: few, many."),
        ("ood:few", "Unknown benchmark family 'ood'. Did you mean 'odd'? Known: lmms, odd."),
        ("odd:astray", "The family 'odd' (strange_family:Odd) made 'odd:few' for 'odd:astray'."),
    ],
)
def test_a_wrong_name_is_told(name: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        catalog.load_benchmark(name)
    assert caught.value.message == told


def test_the_built_in_family_is_found_like_a_strangers() -> None:
    assert catalog.plugin_names("families")["lmms"] == "pairuni_eval.lmms.benchmark:LmmsTasks"


def test_listing_imports_no_foreign_toolkit() -> None:
    code = (
        "import sys; from pairuni_eval import catalog; import pairuni_eval.lmms.benchmark; "
        "catalog.all_cards(); print({'lmms_eval', 'torch', 'datasets'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "set()"


Cli = Callable[..., Any]


def measured(cli: Cli, script: str, *names: str, extra: Sequence[object] = ()) -> StoredRun:
    ran = cli(
        *("run", "--checkpoint", script, "--benchmarks", ",".join(names)),
        *("--out", "run", "--report", "report", *extra),
    )
    assert ran.code == 0, ran.err
    return StoredRun(Path("run"))


@pytest.fixture
def script(write_script: Callable[[dict[str, str]], str]) -> str:
    """Right on 1, 2 and 4; nothing at all on 3."""
    return write_script({"say 0": "5", "say 1": "1", "say 2": "2", "say 4": "4"})


def test_foreign_figures_stand_in_the_run_and_in_the_report(cli: Cli, script: str) -> None:
    run = measured(cli, script, "odd:few", "odd:many")
    assert [(f.protocol, f.metric, f.value, f.rows) for f in run.figures] == [
        ("odd:few@odd", "total", 3.0, 3),
        ("odd:few@odd", "mode|", None, 3),
        ("odd:many@odd", "total", 7.0, 4),
        ("odd:many@odd", "mode|", None, 4),
    ]
    summary = json.loads(Path("report/summary.json").read_text())["benchmarks"]
    assert summary["odd:many"]["figures"][0] == {
        "protocol": "odd",
        "metric": "total",
        "value": 7.0,
        "rows": 4,
        "source": "odd 1.0",
        "note": None,
    }
    page = Path("report/report.md").read_text()
    assert "As odd 1.0 aggregates them" in page
    assert "| odd | total | 3 | 3 |" in page
    assert "| odd | mode\\| | none: there is none | 3 |" in page
    assert "there is none" in Path("report/report.html").read_text()


def test_a_figure_is_the_headline_where_rows_hold_no_number(cli: Cli, script: str) -> None:
    measured(cli, script, "odd:few", "odd:many")
    lines = Path("report/report.md").read_text().splitlines()
    few = next(line for line in lines if line.startswith("| Understanding | Odd few"))
    many = next(line for line in lines if line.startswith("| Understanding | Odd many"))
    assert "| row | 0.6667 | [" in few
    assert few.endswith("] | 3/3 | odd |")
    assert many.endswith("| total | 7.0000 | – | 4/5 | odd |")


def test_the_data_say_how_many_samples_there_are(cli: Cli, script: str) -> None:
    run = measured(cli, script, "odd:many", extra=("--limit", 2))
    part = run.card.benchmarks["odd:many"]
    assert (part.planned, part.expected) == (2, 5)
    assert run.cards["odd:many"].expected == 5
    assert run.card.partial


def test_the_same_command_after_a_stop_gives_the_same_figures(cli: Cli, script: str) -> None:
    before = measured(cli, script, "odd:few", "odd:many")
    figures = Path("run/figures.json").read_bytes()
    assert before.figures
    (Path("run") / "COMPLETE").unlink()
    Path("run/figures.json").unlink()
    measured(cli, script, "odd:few", "odd:many")
    assert Path("run/figures.json").read_bytes() == figures


def test_a_run_without_foreign_figures_has_no_such_file(cli: Cli) -> None:
    run = measured(cli, "tiny", "tiny-pope", extra=("--limit", 2))
    assert run.figures == []
    assert not Path("run/figures.json").exists()
    assert (
        "figures"
        not in json.loads(Path("report/summary.json").read_text())["benchmarks"]["tiny-pope"]
    )
