"""Runs of one benchmark that asks and one that draws, whose samples name concepts by a tag."""

from __future__ import annotations

from pathlib import Path

from pairuni_eval.records import Capability, make_item
from pairuni_eval.stats.concept_matrix import BOTH, DRAWINGS, NAMELESS, NOT, QUESTIONS, SEVERAL
from support import example_run as example
from support.example_run import Graded

CONCEPTS = {
    "dax": BOTH,
    "wug": QUESTIONS,
    "zib": DRAWINGS,
    "blick": NOT,
    "wug,zib": SEVERAL,
    "none": NAMELESS,
}
EACH = 30  # samples of a concept


def written(folder: Path, right: dict[tuple[str, str], bool], *, tag: str = "concept") -> Path:
    """A run of one benchmark of each task; `right` says what it has right, by task and cell."""
    chosen = [
        example.card(
            name,
            name,
            capability,
            EACH * len(CONCEPTS),
            protocols={"exact": example.protocol("accuracy", example.metric("accuracy"))},
        )
        for name, capability in (("asks", "understand"), ("draws", "generate"))
    ]
    rows = {}
    for card in chosen:
        graded = rows[card.name] = []
        for n, cell in enumerate(cell for cell in CONCEPTS for _ in range(EACH)):
            item = make_item(
                benchmark=card.name,
                version=card.version,
                key=f"{n:04d}",
                capability=card.capability,
                parts=(f"number {n}",),
                reference={},
                tags={tag: cell},
            )
            value = float(right.get((card.name, cell), n % 2 == 0))
            asked = card.capability is Capability.UNDERSTAND
            reply = f"answer {value}" if asked else example.picture("red", "circle")
            graded.append(Graded(item, reply, {"correct": value}))
    example.store(folder, chosen, rows, name=folder.name)
    return folder
