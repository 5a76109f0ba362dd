"""Recorded HPSv2 cases as calls of ours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pairuni_registry.hpsv2.benchmark import SCALE, STYLES
from parity.rules.form import Form, Given, Rule, same
from support import official_tables

from pairuni_eval.catalog import find_card


def inversion(given: Given, _: Path) -> float:
    try:
        return official_tables.inversion_score(given["p1"], given["p2"])
    except ValueError as failure:  # rankings of different lengths, which upstream asserts
        raise AssertionError(str(failure)) from failure


def benchmark(given: Given, _: Path) -> Any:
    """The lines that upstream prints, white space collapsed, and how many images are missing."""
    gone = _missing(given)
    lines, everything = [], []
    for style, cosines in given["style_scores_cosine"].items():
        kept = [100 * c for i, c in enumerate(cosines) if (style, i) not in gone]
        found = official_tables.style_score(kept)
        lines.append(f"MYMODEL {style} {found.mean:.2f} {found.deviation:.4f}")
        everything += kept
    average = sum(everything) / len(everything) if everything else math.nan
    return {"printed": [*lines, f"MYMODEL Average {average:.2f}"], "missing_lines": len(gone)}


def _missing(given: Given) -> set[tuple[str, int]]:
    """The images that are not there: {style: numbers}, [style, number], "style/00003.jpg", or a
    number that is missing in every style.
    """
    entries = given["missing"]
    if isinstance(entries, dict):
        entries = [[style, number] for style, numbers in entries.items() for number in numbers]
    gone = set()
    for entry in entries:
        if isinstance(entry, str):
            style, _, name = entry.rpartition("/")
            gone.add((style, int(Path(name).stem)))
        elif isinstance(entry, list):
            gone.add((entry[0], entry[1]))
        else:
            gone |= {(style, entry) for style in given["style_scores_cosine"]}
    return gone


def ranking(given: Given, _: Path) -> Any:
    scores, human = given["scores"], given["human_ranks"]
    return {
        "rankings": [official_tables.rank_of(mine) for mine in scores],
        "ranking_acc": official_tables.ranking_accuracy(scores, human),
    }


def constants(_given: Given, _: Path) -> Any:
    """What the card says: `evaluate` takes its first protocol, `score` upstream the other one."""
    card = find_card("hpsv2")
    first, second = card.protocols
    files = {version: card.weights[version].files[0] for version in card.protocols}
    (hub,) = {card.weights[version].hub for version in card.protocols}
    return {
        "evaluate_default_version": first,
        "score_default_version": second,
        "benchmark_styles": list(STYLES),
        "benchmark_multiplied_by_100": SCALE == 100,
        "checkpoints": f"{hub}: {files[second]} ({second}), {files[first]} ({first})",
    }


def _of_the_card(expected: Given) -> Given:
    """Upstream's facts without those about its network, which the card does not hold."""
    others = ("score_multiplied_by_100", "image_name", "backbone", "pretrained_base")
    return {key: value for key, value in expected.items() if key not in others}


RULES: dict[str, Rule] = {
    "inversion_score": inversion,
    "calc_ImageReward": lambda given, _: official_tables.pairwise_accuracy(
        given["pred"], given["gt"]
    ),
    "evaluate_benchmark": benchmark,
    "ranking_acc": ranking,
    "constants": constants,
}

FORMS: dict[str, Form] = {"constants": (_of_the_card, same)}
