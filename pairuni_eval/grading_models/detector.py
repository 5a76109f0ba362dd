"""GenEval's detector: objects in a picture from Mask2Former, their colors from CLIP.

Detection goes in batches of pictures; the colors that the prompts of all of them ask for are named
in one go afterward. Only what the rules can use is kept: detections at or above the lowest
threshold, and the cut-outs of the few objects whose color matters, never a mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pairuni_eval.grading_models.colors import ColorNamer, CutOutObject, cut_out
from pairuni_eval.grading_models.mask2former import Instances, Mask2Former
from pairuni_eval.scorers.objects import (
    OBJECT_NAMES,
    OFFICIAL,
    CountedObject,
    Observation,
    color_questions,
    keep,
)

if TYPE_CHECKING:
    from PIL import Image

_LEAST = min(OFFICIAL.threshold, OFFICIAL.counting_threshold)


class _ObjectPlace(NamedTuple):
    """Where an object is found: the number of its picture, its class, its place in the class."""

    picture: int
    name: str
    place: int


Rows = dict[str, list[list[float]]]


class Observer:
    """Looks at pictures with GenEval's questions in mind.

    Args:
        detector: Of the 80 COCO classes, in their order.
        colors: Names the colors of cut-outs.
    """

    def __init__(self, detector: Mask2Former, colors: ColorNamer) -> None:
        self._detector = detector
        self._colors = colors

    def observe(
        self, pictures: Iterable[Image.Image], prompts: Sequence[Mapping[str, Any]]
    ) -> list[Observation]:
        """What each picture shows.

        Args:
            pictures: One per prompt, in order; taken a batch at a time.
            prompts: Rows of GenEval's metadata; they say which colors will be asked for.
        """
        rows: list[Rows] = []
        things: dict[_ObjectPlace, CutOutObject] = {}
        detected = self._detector.detect(pictures, least=_LEAST)
        for number, ((picture, instances), prompt) in enumerate(
            zip(detected, prompts, strict=True)
        ):
            members = _by_class(instances)
            rows.append(_rows(instances, members))
            for name, found in color_questions(prompt, keep(rows[-1], tag=prompt["tag"])):
                for one in found:
                    mask_HW = instances.masks_NHW[members[name][one.place]].numpy()
                    cut = cut_out(picture, one.box, mask_HW)
                    things[_ObjectPlace(number, name, one.place)] = CutOutObject(
                        name, self._colors.pixels(cut)
                    )
        colors = dict(zip(things, self._colors.name(list(things.values())), strict=True))
        return [
            Observation(seen, partial(_look_up, colors, number)) for number, seen in enumerate(rows)
        ]


def _by_class(instances: Instances) -> dict[str, list[int]]:
    """The instances of each class that has any, by GenEval's name; classes are known by number."""
    members: dict[str, list[int]] = {}
    for index, label in enumerate(instances.labels_N.tolist()):
        members.setdefault(OBJECT_NAMES[label], []).append(index)
    return members


def _rows(instances: Instances, members: Mapping[str, Sequence[int]]) -> Rows:
    """Per class, rows of x0, y0, x1, y1, score; each the exact value of a float32."""
    boxes, scores = instances.boxes_N4.tolist(), instances.scores_N.tolist()
    return {
        name: [[*boxes[index], scores[index]] for index in indices]
        for name, indices in members.items()
    }


def _look_up(
    colors: Mapping[_ObjectPlace, str], picture: int, name: str, found: Sequence[CountedObject]
) -> list[str]:
    return [colors[_ObjectPlace(picture, name, one.place)] for one in found]
