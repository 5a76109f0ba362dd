"""Seconds and memory of building a report of 50,000 rows and 2,000 pictures.

    python tests/bench/report_scale.py [--rows 50000] [--pictures 2000] [--baselines 1] [--keep DIR]

The run is written through the store's own writer with the cards of real benchmarks, their protocols
and metrics included, so that the statistics cost what they cost. The report is built in a process
of its own, whose peak memory is printed beside the bounds of 15 s and 1 GiB.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.child_usage import run_measured

from pairuni_eval.cards import Card, read_card
from pairuni_eval.records import (
    RECORD_FORMAT,
    BenchmarkRun,
    Capability,
    ImagePart,
    Item,
    ModelIdentity,
    Output,
    Picture,
    RunCard,
    Score,
    Status,
    TextPart,
    make_item,
    output_id,
)
from pairuni_eval.store import layout
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.seal import compact
from pairuni_eval.store.write import write_record

REGISTRY = Path(__file__).parents[2] / "registry"
SECONDS, GIBIBYTES = 15.0, 1.0  # of building
OPENING, FILTERING = 1.5, 0.2  # seconds in the browser
_SIDE = 384
_DISTINCT = 12  # pictures that are drawn; the others are these with another comment inside
_SHARES = {"mmstar": 0.40, "pope": 0.36, "mme": 0.14, "geneval": 0.08, "wise": 0.02}
_WORDS = ("photo", "of", "the", "red", "small", "left", "table", "near", "some", "people")


class Shape(NamedTuple):
    """How many rows and pictures a run holds."""

    rows: int
    pictures: int


def pictures(count: int) -> list[Picture]:
    """PNG files of a drawn picture's size, each with content of its own."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_DISTINCT):
        coarse = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        drawn.append(buffer.getvalue())
    return [
        Picture.from_bytes(_commented(drawn[n % _DISTINCT], f"number {n}")) for n in range(count)
    ]


def _commented(png: bytes, comment: str) -> bytes:
    """The same PNG with a text chunk before its end."""
    body = b"tEXtComment\0" + comment.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:-12] + chunk + png[-12:]


def _sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


def _tags(card: Card, n: int) -> dict[str, str]:
    """Every tag that a metric of the card reads, with as many groups as it may have."""
    tags = {"label": "yes" if n % 2 else "no"}
    for rule in card.protocols.values():
        for spec in rule.metrics:
            for tag, wanted in spec.where.items():
                tags.setdefault(tag, wanted)
            if spec.by:
                names = sorted(spec.weights) or [f"{spec.by} {k}" for k in range(6)]
                tags[spec.by] = names[n // 2 % len(names)]
    return tags


def _item(card: Card, n: int, unit: int, shown: Sequence[Picture], rng: random.Random) -> Item:
    drawn = card.capability is not Capability.UNDERSTAND
    text = f"{_sentence(rng, 24)} ({n})"
    return make_item(
        benchmark=card.name,
        version=card.version,
        key=f"{card.name}-{n:06d}",
        capability=card.capability,
        parts=(text,) if drawn else (shown[unit % len(shown)], text),
        reference={"answer": "yes" if n % 2 else "no"},
        unit=f"unit {unit}",
        tags=_tags(card, n),
    )


class Rows(NamedTuple):
    """The tables of a run."""

    samples: list[msgspec.Struct]
    outputs: list[msgspec.Struct]
    scores: list[msgspec.Struct]


def _rows(card: Card, count: int, shown: Sequence[Picture], skill: float) -> Rows:
    rng = random.Random(f"{card.name}/{skill}")
    questions = random.Random(card.name)
    made = Rows([], [], [])
    for n in range(count // card.draws):
        item = _item(card, n, n // 6, shown, questions)
        made.samples.append(item.sample)
        for draw in range(card.draws):
            output = _output(card, item, draw, shown, rng)
            made.outputs.append(output)
            made.scores.extend(_scores(card, item, output, rng.random() < skill))
    return made


def _output(
    card: Card, item: Item, draw: int, shown: Sequence[Picture], rng: random.Random
) -> Output:
    drawn = card.capability is not Capability.UNDERSTAND
    part = ImagePart(rng.choice(shown).id) if drawn else TextPart(_sentence(rng, 20))
    uid = item.sample.uid
    return Output(
        id=output_id(uid, draw, card.decoding.id),
        sample=uid,
        draw=draw,
        seed=draw,
        decoding=card.decoding.id,
        parts=(part,),
    )


def _scores(card: Card, item: Item, output: Output, right: bool) -> Iterator[Score]:
    for name, rule in card.protocols.items():
        for of in dict.fromkeys(spec.of for spec in rule.metrics):
            yes = item.sample.tags["label"] == "yes"
            value = float(right == yes) if of == "said_yes" else float(right)
            yield Score(
                output=output.id,
                protocol=f"{card.name}@{name}",
                metric=of,
                value=value,
                status=Status.SCORED,
                scorer="made_up/1",
                verdict="as read",
            )


def write_run(folder: Path, shape: Shape, *, name: str, skill: float) -> Path:
    """Write a complete run of this shape."""
    shown = pictures(shape.pictures)
    store = Pictures(folder)
    for picture in shown:
        store.add(picture)
    store.settle()
    tables: dict[str, list[msgspec.Struct]] = {"samples": [], "outputs": [], "scores": []}
    runs: dict[str, BenchmarkRun] = {}
    for benchmark, share in _SHARES.items():
        card = read_card(REGISTRY / benchmark / "card.toml")
        count = int(shape.rows * share) // card.draws
        card = msgspec.structs.replace(card, expected=count, weights={})
        write_record(folder / layout.CARDS / f"{benchmark}.json", card)
        made = _rows(card, count * card.draws, shown, skill)
        for table, rows in zip(tables.values(), made, strict=True):
            table.extend(rows)
        runs[benchmark] = _benchmark_run(card, count)
    write_record(folder / layout.RUN_FILE, _run_card(name, runs))
    compact(folder, tables)
    return folder


def _benchmark_run(card: Card, count: int) -> BenchmarkRun:
    return BenchmarkRun(
        protocols=tuple(f"{card.name}@{key}" for key in card.protocols),
        decoding=card.decoding,
        batch_size=16,
        origin="made up",
        revision="1",
        judge=None,
        expected=count,
        planned=count,
    )


def _run_card(name: str, runs: dict[str, BenchmarkRun]) -> RunCard:
    return RunCard(
        format=RECORD_FORMAT,
        code="0",
        name=name,
        checkpoint=ModelIdentity(adapter="janus", name=name, weights="0" * 64),
        suite=None,
        benchmarks=runs,
        seed=0,
        limit=None,
        environment={},
        command=f"pairuni-eval run --checkpoint {name}",
    )


class Built(NamedTuple):
    """What building a report took, the start of Python included."""

    seconds: float
    cpu_seconds: float
    gibibytes: float
    page: Path


def build(run: Path, out: Path, baselines: dict[str, Path]) -> Built:
    """Build a report in a process of its own."""
    named = [word for name, path in baselines.items() for word in ("--baseline", f"{name}={path}")]
    command = [sys.executable, "-m", "pairuni_eval.cli", "report", str(run), "--out", str(out)]
    used = run_measured([*command, *named])
    return Built(used.seconds, used.cpu_seconds, used.peak / 2**30, out / "report.html")


# When the page has loaded and its outputs are unpacked and there to read, whichever is later.
_OPENED = """
const loaded = performance.getEntriesByType('navigation')[0].loadEventEnd;
return Math.max(loaded, performance.getEntriesByName('outputs')[0].startTime);
"""
_FILTERS = (("verdict", "wrong"), ("benchmark", "1"), ("words", "round table"), ("words", "red"))
_FILTER = """
const field = document.getElementById('filters').elements[arguments[0]];
const started = performance.now();
field.value = arguments[1];
field.dispatchEvent(new Event(arguments[0] === 'words' ? 'input' : 'change', {bubbles: true}));
document.body.getBoundingClientRect();
return performance.now() - started;
"""


class Used(NamedTuple):
    """Seconds until the page is open in Chromium, and of the slowest filter."""

    opened: float
    filtered: float


def use(page: Path) -> Used | None:
    """Open the page in Chromium and filter it; None where there is no Chromium."""
    from support import chromium

    if chromium.BINARY is None or chromium.DRIVER is None:
        return None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = chromium.Browser(Path(profile))
        try:
            browser.open(page, width=1280)
            opened = browser.run(_OPENED) / 1000
            slowest = max(browser.run(_FILTER, *one) for one in _FILTERS) / 1000
        finally:
            browser.close()
    return Used(opened, slowest)


def in_words(used: Used | None) -> str:
    """What the browser took, beside the bounds."""
    if used is None:
        return "no Chromium to open the page with"
    return (
        f"opened in {used.opened:.2f} s (bound {OPENING:g}), filtered in at most "
        f"{1000 * used.filtered:.0f} ms (bound {1000 * FILTERING:g})"
    )


def main() -> None:
    """Write the runs, build the report, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--baselines", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder to keep runs and report in")
    asked = parser.parse_args()
    shape = Shape(asked.rows, asked.pictures)
    with tempfile.TemporaryDirectory() as scratch:
        root = asked.keep or Path(scratch)
        runs = [root / f"run-{n}" for n in range(asked.baselines + 1)]
        for n, folder in enumerate(runs):
            if not (folder / layout.COMPLETE).is_file():
                write_run(folder, shape, name=f"run {n}", skill=0.6 - 0.05 * n)
        os.sync()  # what writing the runs left to the disk is no part of the report's time
        found = build(runs[0], root / "out", {f"baseline {n}": p for n, p in enumerate(runs[1:])})
        size = found.page.stat().st_size / 2**20
        print(
            f"{asked.rows:,} rows, {asked.pictures:,} pictures, {asked.baselines} baselines: "
            f"{found.seconds:.1f} s (bound {SECONDS:g}), {found.cpu_seconds:.1f} s of processor, "
            f"{found.gibibytes:.2f} GiB "
            f"(bound {GIBIBYTES:g}), report.html {size:.1f} MiB"
        )
        used = use(found.page)
        print(in_words(used))
        over = found.seconds > SECONDS or found.gibibytes > GIBIBYTES
        over |= used is not None and (used.opened > OPENING or used.filtered > FILTERING)
        sys.exit(over)


if __name__ == "__main__":
    main()
