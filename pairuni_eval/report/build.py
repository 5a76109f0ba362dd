"""Writes a report: report.html, report.md, summary.json, exports and images/ in one folder.

Goes in: a finished run and named baselines. The three files are functions of the stores, and of the
folders by which they were named below the reader's own: no clock, no path from outside, no order of
a set, so two builds from equal stores are equal byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pairuni_eval.errors import writing
from pairuni_eval.records import ExternalMetric
from pairuni_eval.report import addresses, figures
from pairuni_eval.report.baseline_comparison import BaselineComparison, comparison_entry
from pairuni_eval.report.contamination import contamination_entry
from pairuni_eval.report.content import Page, gather
from pairuni_eval.report.copied_images import FOLDER, PICTURES, ImageCopier, drop_stale
from pairuni_eval.report.cost import Cost
from pairuni_eval.report.export import FILES, exports, not_for_the_hub
from pairuni_eval.report.formats import SUMMARY
from pairuni_eval.report.gradients import gradients_entry
from pairuni_eval.report.headlines import KINDS
from pairuni_eval.report.judging import judging_entry
from pairuni_eval.report.pages import render_fragment, render_markdown, render_page, write_page
from pairuni_eval.report.questions import questions
from pairuni_eval.report.sections import GroupLine, Section
from pairuni_eval.report.seeds import NO_SEEDS, Seeds
from pairuni_eval.report.sheet import sheet
from pairuni_eval.stats.intervals import Estimate, Interval
from pairuni_eval.stats.tables import MetricRow, bare
from pairuni_eval.store.read import StoredRun

_OWN_FILES = {
    "summary.json": "the numbers of this page for programs",
    "report.md": "this page as Markdown",
}
_ODD = re.compile(r"[^\w.-]")


def build_report(
    run: StoredRun,
    out: Path,
    baselines: Mapping[str, StoredRun],
    training: Mapping[str, Sequence[Path]] | None = None,
    pairs: Path | None = None,
    seeds: Seeds = NO_SEEDS,
    partial_results: bool = False,
    pictures: int | None = None,
    say: Callable[[str], object] | None = None,
) -> Path:
    """Write the report of a run; returns the path of its HTML file.

    Args:
        run: The finished run.
        out: The report's folder; made if it is not there, its earlier report is replaced.
        baselines: Finished runs to compare with, by the name that is printed.
        training: Training folders by the name of their arm.
        pairs: The pair set that the checkpoint was trained on.
        seeds: Further training seeds of the run and of its baselines.
        partial_results: Whether `eval_results.yaml` may hold benchmarks that are not all there.
        pictures: How many pictures it may hold, the gallery's before the browser's; None for as
            many as a report usually holds.
        say: Is told the page's notices and why outputs have no value, a line each.

    Raises:
        UserError: if the folder cannot be written, or a card's aggregate does not work.
    """
    with ImageCopier(out, at_most=PICTURES if pictures is None else pictures) as copier:
        page = gather(run, baselines, copier, training or {}, pairs, seeds)
    left_out = not_for_the_hub(page, partial_results=partial_results)
    with writing(str(out)):
        out.mkdir(parents=True, exist_ok=True)
        sheets = _write_sheets(page, out / FOLDER)
        drop_stale(out / FOLDER, copier.files | set(sheets.values()))
        write_page(out / "report.html", _html(page, left_out))
        write_page(out / "report.md", _markdown(page, sheets))
        entry = _summary(page) | {"left_out_of_eval_results": left_out}
        write_page(out / "summary.json", json.dumps(entry, indent=2, ensure_ascii=False))
        if page.cost is not None:
            write_page(out / "cost.md", _cost_markdown(page.cost, page.run.name))
            write_page(out / "cost.svg", _cost_picture(page.cost))
        for name, content in exports(page, left_out).items():
            write_page(out / name, content)
    if say is not None:
        for notice in (*page.notices, *page.reasons):
            say(notice)
    return out / "report.html"


def _write_sheets(page: Page, folder: Path) -> dict[str, str]:
    """Write the sheet of every benchmark that has small pictures; returns their names."""
    names = {}
    for section in page.sections:
        content = sheet(section.gallery_items)
        if content is not None:
            names[section.card.name] = f"sheet-{_ODD.sub('-', section.card.name)}.png"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / names[section.card.name]).write_bytes(content)
    return names


def _html(page: Page, left_out: Mapping[str, str]) -> str:
    return render_page(
        "report.html.j2",
        scripts=("page.js", "browse.js"),
        page=page,
        files=FILES | _OWN_FILES | _hub_file(left_out),
        axis=figures.axis(),
        axis_around=figures.axis_around,
        group_figure=group_figure,
        addresses=addresses,
        questions=questions(page),
        kinds=KINDS,
    )


def _hub_file(left_out: Mapping[str, str]) -> dict[str, str]:
    """What the hub file is, and what it leaves out."""
    name = "eval_results.yaml"
    said = "; ".join(f"{benchmark}: {reason}" for benchmark, reason in left_out.items())
    return {name: f"{FILES[name]}, without {said}"} if said else {}


def group_figure(line: GroupLine, baselines: Sequence[BaselineComparison]) -> Markup:
    """The strip of one group with the baselines' numbers on it."""
    others = [
        figures.Other(one.name, found.theirs if found else None)
        for one, found in zip(baselines, line.differences, strict=False)  # none where not compared
    ]
    label = f"{line.name}: dot with 95 % interval on the metric's range"
    return figures.strip(line.cells[0].estimate, label, others)


def _markdown(page: Page, sheets: Mapping[str, str]) -> str:
    return render_markdown(
        "report.md.j2", page=page, kinds=KINDS, questions=questions(page), sheets=sheets
    )


def _cost_markdown(cost: Cost, name: str) -> str:
    """The times of a run, which no other file of a report holds."""
    return render_markdown("cost.md.j2", cost=cost, name=name)


def _cost_picture(cost: Cost) -> str:
    return render_fragment("cost.svg.j2", bars=cost.bars)


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
        "known": row.known,
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


def _figure_entry(figure: ExternalMetric) -> dict[str, Any]:
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
        "format": SUMMARY,
        "name": run.name,
        "partial": page.partial,
        "partial_runs": [one.entry for one in page.partial_runs],
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
                **comparison_entry(one.comparison, one.sentence),
            }
            for one in page.baselines
        },
        **page.stored.entry,
        **({"gradients": gradients_entry(page.gradients)} if page.gradients else {}),
        **(
            {"contamination": contamination_entry(page.contamination)} if page.contamination else {}
        ),
    }
