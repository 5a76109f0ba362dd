"""Writes a report: report.html, report.md, summary.json, exports and images/ in one folder.

Goes in: a finished run and named baselines. The three files are functions of the stores alone: no
clock, no path, no order of a set, so two builds from equal stores are equal byte for byte. All text
that is not ours is escaped, in HTML by autoescape and in Markdown by `finalize`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pairuni_eval import foreign_text
from pairuni_eval.analysis.intervals import Estimate, Interval
from pairuni_eval.analysis.tables import MetricRow, bare
from pairuni_eval.analysis.verdict import p_words
from pairuni_eval.errors import writing
from pairuni_eval.records import Figure
from pairuni_eval.report import figures, text
from pairuni_eval.report.contamination import contamination_entry
from pairuni_eval.report.content import NO_SEEDS, Page, Seeds, gather
from pairuni_eval.report.cost import Cost, duration
from pairuni_eval.report.export import FILES, exports
from pairuni_eval.report.gallery import Album
from pairuni_eval.report.gradients import gradients_entry
from pairuni_eval.report.headlines import KINDS
from pairuni_eval.report.judging import judging_entry
from pairuni_eval.report.sections import GroupLine, Section
from pairuni_eval.report.versus import Versus, difference_entry
from pairuni_eval.store.read import StoredRun

SUMMARY_FORMAT = "pairuni-summary/1"
_OWN_FILES = {
    "summary.json": "the numbers of this page for programs",
    "report.md": "this page as Markdown",
}
_COPIED = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}")  # what `Album` writes


def build_report(
    run: StoredRun,
    out: Path,
    baselines: Mapping[str, StoredRun],
    training: Mapping[str, Sequence[Path]] | None = None,
    pairs: Path | None = None,
    seeds: Seeds = NO_SEEDS,
) -> Path:
    """Write the report of a run; returns the path of its HTML file.

    Args:
        run: The finished run.
        out: The report's folder; made if it is not there, its earlier report is replaced.
        baselines: Finished runs to compare with, by the name that is printed.
        training: Training folders by the name of their arm.
        pairs: The pair set that the checkpoint was trained on.
        seeds: Further training seeds of the run and of its baselines.

    Raises:
        UserError: if the folder cannot be written, or a card's aggregate does not work.
    """
    album = Album(out)
    page = gather(run, baselines, album, training or {}, pairs, seeds)
    with writing(str(out)):
        out.mkdir(parents=True, exist_ok=True)
        _drop_stale(out / "images", album.files)
        _write(out / "report.html", _html(page))
        _write(out / "report.md", _markdown(page))
        _write(out / "summary.json", json.dumps(_summary(page), indent=2, ensure_ascii=False))
        if page.cost is not None:
            _write(out / "cost.md", _cost_markdown(page.cost, page.run.name))
            _write(out / "cost.svg", _cost_picture(page.cost))
        for name, content in exports(page).items():
            _write(out / name, content)
    return out / "report.html"


def _write(path: Path, content: str) -> None:
    path.write_bytes(content.strip().encode("utf-8", errors="replace") + b"\n")


def _drop_stale(folder: Path, wanted: set[str]) -> None:
    """Remove pictures that an earlier report left in the folder."""
    for path in folder.glob("*") if folder.is_dir() else ():
        if _COPIED.fullmatch(path.name) and path.name not in wanted:
            path.unlink()


_NUMBERS: dict[str, Callable[..., str]] = {
    "number": text.number,
    "printed": text.printed,
    "signed": text.signed,
    "interval": text.interval,
    "unit": text.unit,
    "p_value": text.p_value,
    "p_words": p_words,
    "duration": duration,
    "rounded": text.rounded,
}


def _environment(**options: Any) -> Environment:
    return Environment(
        loader=PackageLoader("pairuni_eval.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


@cache  # compiling the templates takes four times as long as filling them in
def _html_templates() -> Environment:
    environment = _environment(autoescape=True)
    environment.filters.update(_NUMBERS | {"clean": foreign_text.clean, "typeset": text.typeset})
    return environment


@cache
def _markdown_templates() -> Environment:
    environment = _environment(autoescape=False, finalize=text.escape_markdown)
    ours = {name: _trusted(function) for name, function in _NUMBERS.items()}
    environment.filters.update(ours | {"fenced": text.fenced, "typeset": text.typeset})
    return environment


def _html(page: Page) -> str:
    environment = _html_templates()
    style, script = (_source(environment, name) for name in ("style.css", "browse.js"))
    return environment.get_template("report.html.j2").render(
        page=page,
        style=Markup(style),
        script=Markup(script),
        script_hash=_hash(script),
        files=FILES | _OWN_FILES,
        axis=figures.axis(),
        group_figure=group_figure,
        kinds=KINDS,
    )


def group_figure(line: GroupLine, baselines: Sequence[Versus]) -> Markup:
    """The strip of one group with the baselines' numbers on it."""
    others = [
        figures.Other(one.name, found.theirs if found else None)
        for one, found in zip(baselines, line.versus, strict=False)  # none where not compared
    ]
    label = f"{line.name}: dot with 95 % interval on the metric's range"
    return figures.strip(line.cells[0].estimate, label, others)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _hash(script: str) -> str:
    """The script's name in the page's policy: no other script runs there."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _markdown(page: Page) -> str:
    template = _markdown_templates().get_template("report.md.j2")
    return template.render(page=page, kinds=KINDS, safe=text.MarkdownText)


def _cost_markdown(cost: Cost, name: str) -> str:
    """The times of a run, which no other file of a report holds."""
    template = _markdown_templates().get_template("cost.md.j2")
    return template.render(cost=cost, name=name, safe=text.MarkdownText)


def _cost_picture(cost: Cost) -> str:
    return _html_templates().get_template("cost.svg.j2").render(bars=cost.bars)


def _trusted(function: Callable[..., str]) -> Callable[..., text.MarkdownText]:
    """A filter whose result is ours, and needs no escaping."""
    return lambda *arguments: text.MarkdownText(function(*arguments))


def _interval_entry(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None


def _estimate_entry(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": estimate.value,
        "interval": _interval_entry(estimate.interval),
        "clusters": estimate.clusters,
    }


def _metric_entry(row: MetricRow) -> dict[str, Any]:
    groups = {
        group.name: {
            **_estimate_entry(group.estimate),
            "scored": group.scored,
            "outputs": group.total,
        }
        for group in row.groups
    }
    entry = {
        **_estimate_entry(row.estimate),
        "scored": row.scored,
        "expected": row.expected,
        "aggregate": row.spec.aggregate,
        "direction": row.spec.direction,
        "scale": row.spec.scale,
    }
    return entry | ({"by": row.spec.by, "groups": groups} if groups else {})


def _section_entry(section: Section) -> dict[str, Any]:
    return {
        "title": section.card.title,
        "version": section.card.version,
        "capability": str(section.card.capability),
        "tiny": section.tiny,
        "partial": section.partial,
        "planned": section.run.planned,
        "expected": section.run.expected,
        "revision": section.run.revision,
        "judge": section.run.judge,
        "default_protocol": section.protocols[0].name,
        "protocols": {
            part.name: {
                "headline": part.rule.headline,
                "metrics": {row.spec.name: _metric_entry(row) for row in part.metrics},
                "statuses": [
                    {"status": row.status, "reason": row.reason, "rows": row.rows}
                    for row in part.statuses
                ],
            }
            for part in section.protocols
        },
        **({"alike": section.alike} if section.alike else {}),
        **({"judging": judging_entry(section.judging)} if section.judging else {}),
        **({"figures": [_figure_entry(one) for one in section.figures]} if section.figures else {}),
    }


def _figure_entry(figure: Figure) -> dict[str, Any]:
    """A figure of another toolkit, in that toolkit's own scale."""
    return {
        "protocol": bare(figure.protocol),
        "metric": figure.metric,
        "value": figure.value,
        "rows": figure.rows,
        "source": figure.source,
        "note": figure.note,
    }


def _summary(page: Page) -> dict[str, Any]:
    """The numbers of the report for programs; values are unscaled, as the metric makes them."""
    run = page.run
    return {
        "format": SUMMARY_FORMAT,
        "name": run.name,
        "partial": page.partial,
        "suite": run.suite,
        "seed": run.seed,
        "code": run.code,
        "protocol_hash": run.protocol_hash,
        "checkpoint": {
            "name": run.checkpoint.name,
            "adapter": run.checkpoint.adapter,
            "weights": run.checkpoint.weights,
            "parent": run.checkpoint.parent,
            "step": run.checkpoint.step,
        },
        "benchmarks": {section.card.name: _section_entry(section) for section in page.sections},
        "baselines": {
            one.name: {
                "checkpoint": one.card.checkpoint.name,
                "weights": one.card.checkpoint.weights,
                "sentence": one.sentence,
                "same_weights": one.same_weights,
                "scope": one.scope,
                "family": one.family._asdict(),
                "differences": [difference_entry(row) for row in one.differences],
                "groups": [difference_entry(row) for row in one.groups],
                "refusals": [refusal.sentence for refusal in one.refusals],
            }
            for one in page.baselines
        },
        **page.stored.entry,
        **({"gradients": gradients_entry(page.gradients)} if page.gradients else {}),
        **(
            {"contamination": contamination_entry(page.contamination)} if page.contamination else {}
        ),
    }
