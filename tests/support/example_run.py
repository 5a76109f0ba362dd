"""A made-up finished run to analyze and report: seven small benchmarks, PNGs, cards."""

from __future__ import annotations

import base64
import gzip
import json
import random
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from pairuni_eval.cards import Card, DataSpec, MetricSpec, ProtocolSpec, Published
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
from pairuni_eval.store.seal import Seal, compact, own_files
from pairuni_eval.store.write import write_record

COLORS = {"red": "#d1352b", "blue": "#2b5fd1", "green": "#2a9d4a", "yellow": "#e8c33b"}
SHAPES = ("circle", "square", "triangle")
HOSTILE = (
    "<script>alert(1)</script> | `x` | <img src=http://evil.test/a.png> "
    "[a](http://evil.test) \u202e"
)


def page_rows(html: str) -> dict[str, Any]:
    """The rows that a report's browser of outputs unpacks."""
    packed = html[html.index('id="rows">') + len('id="rows">') :].partition("</script>")[0]
    return unpacked_rows(packed)


def unpacked_rows(packed: str) -> dict[str, Any]:
    """The columns of a browser's rows, with the texts that their numbers stand for."""
    columns, _, texts = gzip.decompress(base64.b64decode(packed)).decode().partition("\n")
    rows: dict[str, Any] = json.loads(columns)
    return rows | {"texts": texts.split("\x7f")}


class Graded(NamedTuple):
    """A sample, what the model gave for it, and the scores by metric (None: unparsed)."""

    item: Item
    reply: str | Picture | None
    scores: dict[str, float | None]
    skipped: str | None = None
    error: str | None = None


def picture(color: str, shape: str, *, place: int = 0, size: int = 32) -> Picture:
    """A colored shape on light gray."""
    image = Image.new("RGB", (size, size), "#dddddd")
    pen = ImageDraw.Draw(image)
    left, top = (place % 3) * size // 3, (place // 3 % 3) * size // 3
    box = (left + 1, top + 1, left + size // 3, top + size // 3)
    if shape == "circle":
        pen.ellipse(box, fill=COLORS[color])
    elif shape == "square":
        pen.rectangle(box, fill=COLORS[color])
    else:
        pen.polygon([(box[0], box[3]), (box[2], box[3]), (left + size // 6, box[1])], COLORS[color])
    return Picture.from_image(image)


def metric(name: str, aggregate: str = "mean", **more: object) -> MetricSpec:
    return MetricSpec(name=name, aggregate=aggregate, **more)  # type: ignore[arg-type]


def protocol(headline: str, *metrics: MetricSpec, **more: object) -> ProtocolSpec:
    return ProtocolSpec(
        summary=f"The rule that prints {headline}.",
        source="made up for the tests",
        headline=headline,
        metrics=metrics,
        **more,  # type: ignore[arg-type]
    )


def card(name: str, title: str, capability: str, expected: int, **more: object) -> Card:
    return Card(
        name=name,
        title=title,
        summary=f"{title} asks small things about colored shapes.",
        version="1",
        capability=Capability(capability),
        expected=expected,
        unit="image" if capability == "understand" else "prompt",
        licence="Apache-2.0",
        tiny=more.pop("tiny", True),  # type: ignore[arg-type]
        data=DataSpec(hub=None),
        **more,  # type: ignore[arg-type]
    )


def cards(count: int) -> list[Card]:
    return [*choice_cards(count), *yes_no_cards(count), *picture_cards(count)]


def one_of_each(count: int) -> list[Card]:
    """The last benchmark of each capability: a smaller run with every kind of output."""
    return list({card.capability: card for card in cards(count)}.values())


def choice_cards(count: int) -> list[Card]:
    mean = metric("accuracy", by="category", title="Accuracy")
    return [
        card(
            "tiny-mmmu",
            "Tiny MMMU",
            "understand",
            count,
            protocols={
                "official": protocol("accuracy", mean),
                "lmms-eval": protocol("accuracy", mean, unparsed="excluded"),
            },
        ),
        card(
            "tiny-mmstar",
            "Tiny MMStar",
            "understand",
            count,
            protocols={"official": protocol("accuracy", mean)},
        ),
    ]


def yes_no_cards(count: int) -> list[Card]:
    return [
        card(
            "tiny-mme",
            "Tiny MME",
            "understand",
            count,
            protocols={
                "official": protocol(
                    "perception",
                    metric("perception", "mme_total", by="category", scale=1.0, title="Perception"),
                )
            },
        ),
        card(
            "tiny-pope",
            "Tiny POPE",
            "understand",
            count,
            protocols={
                "official": protocol(
                    "f1",
                    metric("f1", "f1", of="said_yes", by="category", title="F1"),
                    metric("precision", "precision", of="said_yes", title="Precision"),
                    metric("recall", "recall", of="said_yes", title="Recall"),
                    metric("yes_ratio", "yes_ratio", of="said_yes", direction="none", title="Yes"),
                    metric(
                        "random_f1",
                        "f1",
                        of="said_yes",
                        where={"category": "random"},
                        title="F1, random split",
                    ),
                )
            },
        ),
    ]


def picture_cards(count: int) -> list[Card]:
    return [
        card(
            "tiny-geneval",
            "Tiny GenEval",
            "generate",
            count,
            protocols={
                "official": protocol(
                    "overall", metric("overall", "macro_mean", by="task", title="Overall")
                )
            },
        ),
        card(
            "tiny-wise",
            "Tiny WISE",
            "generate",
            count,
            protocols={
                "legacy": protocol(
                    "wiscore",
                    metric(
                        "wiscore",
                        "weighted_mean",
                        of="wiscore",
                        by="task",
                        scale=1.0,
                        decimals=2,
                        weights={"culture": 0.6, "time": 0.25, "physics": 0.15},
                        title="WiScore",
                    ),
                )
            },
        ),
        card(
            "tiny-imgedit",
            "Tiny ImgEdit",
            "edit",
            count,
            protocols={
                "official": protocol(
                    "overall",
                    metric(
                        "overall",
                        "macro_mean",
                        of="rating",
                        by="task",
                        scale=1.0,
                        decimals=2,
                        title="Overall, 1 to 5",
                    ),
                )
            },
        ),
    ]


def geneval_card(expected: int) -> Card:
    """A benchmark that is not tiny, with published figures, for runs without a detector."""
    return card(
        "geneval",
        "GenEval",
        "generate",
        expected,
        tiny=False,
        protocols={
            "official": protocol(
                "overall", metric("overall", "macro_mean", by="task", title="Overall")
            )
        },
        published=(
            Published(
                model="Janus-Pro-1B",
                metric="overall",
                value=0.73,
                source="Janus-Pro, T4",
                protocol="official",
            ),
            Published(model="PairUni-1B", metric="overall", value=0.79, source="PairUni, T3"),
        ),
    )


def _question(card: Card, n: int, tags: dict[str, str], answer: str, image: Picture) -> Item:
    return make_item(
        benchmark=card.name,
        version=card.version,
        key=f"q{n:04d}",
        capability=card.capability,
        parts=(image, f"Is there a red circle? (question {n})"),
        reference={"answer": answer},
        tags=tags,
    )


def _prompt(card: Card, n: int, tags: dict[str, str], text: str, source: Picture | None) -> Item:
    parts = (source, text) if source else (text,)
    return make_item(
        benchmark=card.name,
        version=card.version,
        key=f"p{n:04d}",
        capability=card.capability,
        parts=parts,
        reference={"prompt": text},
        tags=tags,
    )


def graded(card: Card, count: int, skill: float, rng: random.Random) -> list[Graded]:
    """What a model of this skill (0 to 1) gives on a benchmark."""
    made = []
    for n in range(count):
        right = rng.random() < skill
        color, shape = list(COLORS)[n // 3 % 4], SHAPES[n // 12 % 3]
        if card.capability is Capability.UNDERSTAND:
            made.append(_answered(card, n, right, color, shape))
        else:
            made.append(_drawn(card, n, right, color, shape, rng))
    return made


def _answered(card: Card, n: int, right: bool, color: str, shape: str) -> Graded:
    image = picture(list(COLORS)[n // 2 % 4], SHAPES[n // 8 % 3], place=n // 24 % 9)
    answer = "yes" if n % 2 else "no"
    splits = ("random", "random,popular", "popular,adversarial")
    names = splits if card.name == "tiny-pope" else ("count", "color", "commonsense_reasoning")
    tags = {"category": names[n // 2 % 3], "label": answer}
    said = answer if right else ("no" if answer == "yes" else "yes")
    if n % 17 == 5:
        return Graded(
            _question(card, n, tags, answer, image), HOSTILE, {"correct": None, "said_yes": None}
        )
    scores = {"correct": float(right), "said_yes": float(said == "yes")}
    return Graded(_question(card, n, tags, answer, image), f"{said.capitalize()}.", scores)


def _drawn(card: Card, n: int, right: bool, color: str, shape: str, rng: random.Random) -> Graded:
    tasks = {
        "tiny-wise": ("culture", "time", "physics"),
        "tiny-imgedit": ("add", "remove", "recolor"),
    }
    task = tasks.get(card.name, ("single object", "two objects", "counting"))[n % 3]
    editing = card.capability is Capability.EDIT
    text = f"make the {shape} {color}" if editing else f"a photo of a {color} {shape}"
    source = picture("blue", SHAPES[n % 3], place=n % 9) if editing else None
    item = _prompt(card, n, {"task": task}, text, source)
    shown = color if right else rng.choice(list(COLORS))
    scores: dict[str, float | None] = {
        "correct": float(right),
        "wiscore": rng.choice((0.5, 0.85, 1.0)) if right else 0.2,
        "rating": rng.choice((3.67, 4.0, 5.0)) if right else rng.choice((1.0, 2.33)),
    }
    return Graded(item, picture(shown, shape, place=n % 9), scores)


def write_run(
    folder: Path,
    *,
    name: str = "tiny",
    skill: float = 0.7,
    count: int = 48,
    expected: int | None = None,
    seed: int = 7,
    benchmarks: list[Card] | None = None,
    with_images: bool = True,
) -> Path:
    """Write a finished run; `benchmarks` defaults to the seven tiny ones."""
    chosen = cards(expected or count) if benchmarks is None else benchmarks
    rows: dict[str, list[Graded]] = {}
    for card in chosen:
        rows[card.name] = graded(card, count, skill, random.Random(f"{seed}/{card.name}/{skill}"))
        if not card.tiny:
            rows[card.name] = [
                row._replace(skipped="no detector", scores={"correct": None})
                for row in rows[card.name]
            ]
    store(folder, chosen, rows, name=name, seed=seed, with_images=with_images)
    return folder


def store(
    folder: Path,
    chosen: list[Card],
    rows: dict[str, list[Graded]],
    *,
    name: str = "tiny",
    seed: int = 7,
    with_images: bool = True,
    weights: str | None = None,
    parent: str | None = None,
) -> None:
    """Write graded rows as a finished run folder.

    Its weights are named after what they answered and scored unless a name is given, so that only
    equal runs are of the same weights.
    """
    planned = {card.name: len(rows[card.name]) for card in chosen}
    said = [
        (row.reply.id if isinstance(row.reply, Picture) else row.reply, row.scores)
        for card in chosen
        for row in rows[card.name]
    ]
    weights = weights or sha256(repr(said).encode()).hexdigest()
    checkpoint = ModelIdentity(adapter="janus", name=name, weights=weights, parent=parent)
    write_record(folder / layout.RUN_FILE, _run_card(chosen, planned, checkpoint, seed))
    for card in chosen:
        write_record(folder / layout.CARDS / f"{card.name}.json", card)
    outputs, scores = [], []
    for card in chosen:
        decoding = card.decoding.id
        for row in rows[card.name]:
            output = _output(row, decoding, seed)
            outputs.append(output)
            scores += _scores(row, card, output)
            shown = [*row.item.pictures, *([row.reply] if isinstance(row.reply, Picture) else [])]
            for one in shown if with_images else []:
                with Pictures(folder) as pictures:
                    pictures.add(one)
    samples = [row.item.sample for card in chosen for row in rows[card.name]]
    compact(folder, {"samples": samples, "outputs": outputs, "scores": scores})


def reseal(run: Path, *, pictures: bool = True) -> Path:
    """Let COMPLETE say what the folder holds now, as if the run itself had left it so."""
    path = run / layout.COMPLETE
    seal = msgspec.json.decode(path.read_bytes(), type=Seal)
    tables = {name: run / f"{name}.parquet" for name in seal.sha256}
    changed = msgspec.structs.replace(
        seal,
        rows={name: pq.read_metadata(table).num_rows for name, table in tables.items()},
        sha256={name: sha256(table.read_bytes()).hexdigest() for name, table in tables.items()},
        files=own_files(run),
        pictures=seal.pictures if pictures else {},
    )
    write_record(path, changed)
    return run


def _output(row: Graded, decoding: str, seed: int) -> Output:
    parts: tuple[TextPart | ImagePart, ...] = ()
    if isinstance(row.reply, Picture):
        parts = (ImagePart(row.reply.id),)
    elif row.reply is not None:
        parts = (TextPart(row.reply),)
    sample = row.item.sample.uid
    return Output(
        id=output_id(sample, 0, decoding),
        sample=sample,
        draw=0,
        seed=seed,
        decoding=decoding,
        parts=parts,
        error=row.error,
    )


def _scores(row: Graded, card: Card, output: Output) -> list[Score]:
    made = []
    for name, rule in card.protocols.items():
        for of in dict.fromkeys(["correct", *(spec.of for spec in rule.metrics)]):
            value = row.scores.get(of)
            status = Status.SCORED if value is not None else Status.UNPARSED
            status = Status.SKIPPED if row.skipped else status
            status = Status.MISSING_OUTPUT if row.error else status
            made.append(
                Score(
                    output=output.id,
                    protocol=f"{card.name}@{name}",
                    metric=of,
                    value=value,
                    status=status,
                    scorer="made_up/1",
                    verdict=row.skipped or "as read",
                )
            )
    return made


def _run_card(
    chosen: list[Card], planned: dict[str, int], checkpoint: ModelIdentity, seed: int
) -> RunCard:
    runs = {
        card.name: BenchmarkRun(
            protocols=tuple(f"{card.name}@{key}" for key in card.protocols),
            decoding=card.decoding,
            batch_size=8,
            origin="built in" if card.tiny else "hub:made/up",
            revision="v1" if card.tiny else "unpinned",
            judge=None,
            expected=card.expected,
            planned=planned[card.name],
        )
        for card in chosen
    }
    return RunCard(
        format=RECORD_FORMAT,
        code="0.1.0",
        name=checkpoint.name,
        checkpoint=checkpoint,
        suite="tiny",
        benchmarks=runs,
        seed=seed,
        limit=None,
        environment={"python": "3.11.7", "torch": "2.6.0", "device": "cpu"},
        command=f"pairuni-eval run --checkpoint {checkpoint.name} --suite tiny --seed {seed}",
    )
