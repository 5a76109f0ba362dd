"""GenEval's decision rules over detections: is what the prompt names in the picture?

In go detections per class and a callback that names colors; out come a verdict and its reason, as
in `evaluation/evaluate_images.py` of djghosh13/geneval. Scores and boxes are float32, as the
detector gives them, so a score of exactly 0.3 (0.9 for counting) fails. Odd but official: color
and position look at the most confident objects only (a red car behind a surer blue one does not
help), too many objects are fine unless the prompt counts, and near-duplicate boxes all count.
Departure: equal scores are ordered the same way on every machine (the later detection first).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pairuni_eval.benchmark import MetricValue
from pairuni_eval.records import Status

COLORS: tuple[str, ...] = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)
# The 80 COCO classes in the detector's order, with GenEval's three clearer names.
OBJECT_NAMES: tuple[str, ...] = tuple(
    """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|
stop sign|parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|
umbrella|handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|
skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|
sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed|dining table|
toilet|tv|laptop|computer mouse|tv remote|computer keyboard|cell phone|microwave|oven|toaster|sink|
refrigerator|book|clock|vase|scissors|teddy bear|hair drier|toothbrush""".replace("\n", "").split(
        "|"
    )
)

FloatArray = npt.NDArray[np.floating[Any]]


class Limits(NamedTuple):
    """Which detections count; the defaults are the official ones.

    Attributes:
        threshold: Scores must be above this.
        counting_threshold: The same for prompts of the task `counting`.
        max_objects: Most detections kept per class.
        max_overlap: Drop boxes with at least this IoU to a better one; 1 drops none.
        position_threshold: Dead zone of a position, as a share of the two sizes together.
    """

    threshold: float = 0.3
    counting_threshold: float = 0.9
    max_objects: int = 16
    max_overlap: float = 1.0
    position_threshold: float = 0.1


OFFICIAL = Limits()


class CountedObject(NamedTuple):
    """A detection that counts.

    Attributes:
        box: x0, y0, x1, y1 in pixels.
        score: Confidence in [0, 1].
        place: Its place in the detector's list for the class, where its mask is found.
    """

    box: FloatArray
    score: float
    place: int


Objects = Mapping[str, Sequence[CountedObject]]
ColorOf = Callable[[str, Sequence[CountedObject]], Sequence[str]]
"""Names the color of each found object of a class, in order."""


class Observation(NamedTuple):
    """What a detector saw in one picture.

    Attributes:
        detections: Per class, rows of x0, y0, x1, y1, score in the detector's own order.
        color_of: Names the colors of found objects; called only when a prompt asks for a color.
    """

    detections: Mapping[str, Sequence[Sequence[float]]]
    color_of: ColorOf


class Judgment(NamedTuple):
    """A verdict and, if it is negative, one line for each thing that was expected."""

    correct: bool
    reason: str


# Boxes


def box_area(box: Sequence[float] | FloatArray) -> float:
    """Area in pixels, both borders inside; never negative."""
    return max(float(box[2] - box[0] + 1), 0.0) * max(float(box[3] - box[1] + 1), 0.0)


def intersection_over_union(
    a: Sequence[float] | FloatArray, b: Sequence[float] | FloatArray
) -> float:
    """IoU of two boxes with inclusive borders, in [0, 1]; 0 if both are empty."""
    shared = box_area(
        [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])],
    )
    union = box_area(a) + box_area(b) - shared
    return shared / union if union else 0.0


def relative_position(
    box: Sequence[float] | FloatArray,
    anchor: Sequence[float] | FloatArray,
    *,
    threshold: float = OFFICIAL.position_threshold,
) -> frozenset[str]:
    """The relations in which a box stands to an anchor: none, one, or two of them.

    The offset of the centers loses `threshold` of both sizes on each axis and is divided by the
    length of the whole offset; a component above 0.5 counts.
    """
    corners = np.asarray([box[:4], anchor[:4]]).reshape(2, 2, 2)
    center, anchor_center = corners.mean(axis=1)
    sizes = np.abs(np.diff(corners, axis=1))[:, 0, :]
    offset = center - anchor_center
    beyond = np.abs(offset) - threshold * (sizes[0] + sizes[1])
    revised = np.maximum(beyond, 0) * np.sign(offset)
    if np.all(np.abs(revised) < 1e-3):
        return frozenset()
    x, y = revised / np.linalg.norm(offset)
    sides = (("left of", -x), ("right of", x), ("above", -y), ("below", y))
    return frozenset(name for name, component in sides if component > 0.5)


# From detections to objects


def keep(
    detections: Mapping[str, Sequence[Sequence[float]]], *, tag: str, limits: Limits = OFFICIAL
) -> dict[str, list[CountedObject]]:
    """The detections that count, best first, classes without any left out.

    Args:
        detections: Per class, rows that begin with x0, y0, x1, y1, score.
        tag: The prompt's task; `counting` has its own threshold.
        limits: Thresholds and caps.
    """
    least = limits.counting_threshold if tag == "counting" else limits.threshold
    kept = {name: _keep_class(rows, least, limits) for name, rows in detections.items()}
    return {name: found for name, found in kept.items() if found}


def _keep_class(
    rows: Sequence[Sequence[float]], least: float, limits: Limits
) -> list[CountedObject]:
    if not len(rows):
        return []
    rows_N5 = np.asarray([row[:5] for row in rows], dtype=np.float32)
    order = np.argsort(rows_N5[:, 4], kind="stable")[::-1]
    order = order[rows_N5[order, 4] > np.float32(least)][: limits.max_objects]
    found: list[CountedObject] = []
    for index in order.tolist():
        box = rows_N5[index, :4]
        overlaps = limits.max_overlap != 1 and any(
            intersection_over_union(better.box, box) >= limits.max_overlap for better in found
        )
        if not overlaps:
            found.append(CountedObject(box, float(rows_N5[index, 4]), index))
    return found


# The verdict


def evaluate(
    metadata: Mapping[str, Any],
    objects: Objects,
    color_of: ColorOf,
    *,
    limits: Limits = OFFICIAL,
) -> Judgment:
    """GenEval's verdict on the objects of one picture.

    Args:
        metadata: A row of `evaluation_metadata.jsonl`: `include`, `exclude`.
        objects: Found objects per class, best first (see `keep`).
        color_of: Names colors; called for classes whose color matters.
        limits: Holds the dead zone of positions.
    """
    reasons: list[str] = []
    groups: list[Sequence[CountedObject] | None] = []
    for wanted in metadata.get("include", []):
        found = _surest(wanted, objects)
        complaint = _complaint(wanted, found, groups, color_of, limits)
        groups.append(None if complaint else found)
        reasons += complaint
    for barred in metadata.get("exclude", []):
        count = len(objects.get(barred["class"], []))
        if count >= barred["count"]:
            reasons.append(f"expected {barred['class']}<{barred['count']}, found {count}")
    return Judgment(not reasons, "\n".join(reasons))


def color_questions(
    metadata: Mapping[str, Any], objects: Objects
) -> list[tuple[str, Sequence[CountedObject]]]:
    """What `evaluate` will ask `color_of`, known before: class and objects, in order.

    Lets a classifier answer for many pictures at once.
    """
    asked = [
        (wanted["class"], wanted["count"], _surest(wanted, objects))
        for wanted in metadata.get("include", [])
        if "color" in wanted
    ]
    return [(name, found) for name, count, found in asked if len(found) >= count]


def _surest(wanted: Mapping[str, Any], objects: Objects) -> Sequence[CountedObject]:
    """The objects an `include` clause is about: the surest ones, as many as it wants."""
    return objects.get(wanted["class"], [])[: wanted["count"]]


def _complaint(
    wanted: Mapping[str, Any],
    found: Sequence[CountedObject],
    groups: Sequence[Sequence[CountedObject] | None],
    color_of: ColorOf,
    limits: Limits,
) -> list[str]:
    """What is wrong with the objects of one `include` clause: nothing, or one line."""
    name, count = wanted["class"], wanted["count"]
    if len(found) < count:
        return [f"expected {name}>={count}, found {len(found)}"]
    if "color" in wanted:
        complaint = _color_complaint(wanted, list(color_of(name, found)))
        if complaint:
            return complaint
    if "position" in wanted:
        relation, target = wanted["position"]
        return _position_complaint(name, relation, found, groups[target], limits)
    return []


def _color_complaint(wanted: Mapping[str, Any], colors: list[str]) -> list[str]:
    name, count, color = wanted["class"], wanted["count"], wanted["color"]
    hits = colors.count(color)
    if hits >= count:
        return []
    seen = ", ".join(f"{colors.count(c)} {c}" for c in COLORS if c in colors)
    return [f"expected {color} {name}>={count}, found {hits} {color}; and {seen}"]


def _position_complaint(
    name: str,
    relation: str,
    found: Sequence[CountedObject],
    anchors: Sequence[CountedObject] | None,
    limits: Limits,
) -> list[str]:
    """The first pair that does not stand as asked; every found object must to every anchor."""
    if anchors is None:
        return [f"no target for {name} to be {relation}"]
    for thing in found:
        for anchor in anchors:
            held = relative_position(thing.box, anchor.box, threshold=limits.position_threshold)
            if relation not in held:
                said = " and ".join(sorted(held))
                return [f"expected {name} {relation} target, found {said} target"]
    return []


def judge(
    metadata: Mapping[str, Any], observation: Observation, *, limits: Limits = OFFICIAL
) -> Judgment:
    """GenEval's verdict on what a detector saw: `keep`, then `evaluate`."""
    objects = keep(observation.detections, tag=metadata["tag"], limits=limits)
    return evaluate(metadata, objects, observation.color_of, limits=limits)


def geneval_marks(
    metadata: Mapping[str, Any], observation: Observation | None
) -> list[MetricValue]:
    """Grade one picture: `correct`; skipped where there is no detector to look at it."""
    if observation is None:
        return [MetricValue("correct", None, Status.SKIPPED, "no detector")]
    verdict = judge(metadata, observation)
    return [MetricValue("correct", float(verdict.correct), verdict=verdict.reason or None)]
