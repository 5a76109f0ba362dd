"""GenEval: what a prompt names must be found in the picture, by a detector and by CLIP.

The rules are in `scorers/objects.py`, the models in `grading_models/`. A protocol is one detector:
`official` is OpenMMLab's, `hf` is Meta's training of the same architecture. Weights are looked for
when a protocol is first graded; without them its rows are skipped, with the reason, for a picture
that nobody looked at has no score. A picture that cannot be decoded is missing; one that makes the
detector fail (out of memory) is tried again alone, and then has no verdict.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pairuni_eval.api import (
    Answer,
    Benchmark,
    BoundaryError,
    Card,
    Data,
    DatasetError,
    Equipment,
    Fact,
    Item,
    Judge,
    JudgeError,
    MetricValue,
    Painted,
    Status,
    UserError,
    boundary,
    seed_for,
)
from pairuni_eval.api.scorers import (
    COLORS,
    OBJECT_NAMES,
    Observation,
    check_complete,
    geneval_marks,
    geneval_reference,
    object_facts,
)

from .metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from pairuni_eval.api.grading_models import ColorNamer, Observer

_DETECTORS = {"official": "detector", "hf": "detector_hf"}  # weights by protocol
_TOGETHER = 64  # pictures whose facts are looked for at a time
_READERS = 8  # threads that decode pictures while a detector waits for them


class GenEval(Benchmark):
    """See the module docstring."""

    extra = "geneval"
    asks_choices = True

    def __init__(self, card: Card, folder: Path) -> None:
        super().__init__(card, folder)
        self._equipment: Equipment | None = None
        self._observers: dict[str, Observer | str] = {}
        self._weights: dict[str, str] = {}  # which weights look, by protocol
        self._colors: ColorNamer | None = None

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a prompt; the key is the folder name that GenEval's scripts use.

        Raises:
            UserError: for a row of another form, or a file that is complete and not the official
                one.
        """
        rows = list(data.jsonl_rows())
        if len(rows) == self.card.expected:
            spec = self.card.data
            place = f"{self.card.homepage}/tree/{spec.revision}"
            check_complete(data.files(), spec.published, revision=place)
        for number, row in enumerate(rows):
            row.check(Metadata)
            yield self.item(
                key=f"{number:05d}",
                parts=(row["prompt"],),
                reference=dict(row),
                tags={"task": row["tag"]},
            )

    def reward_reference(
        self, request: str, answer: str | None, facts: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """A prompt whose facts hold GenEval's metadata as `row`."""
        return geneval_reference(facts)

    def equip(self, data: Data, *, device: str) -> None:
        """Remember where weights are; they are loaded when a protocol is first graded."""
        self._equipment = Equipment(data, device)

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """`correct` of each picture; all are looked at together."""
        observer = self._observer(protocol)
        if isinstance(observer, str):
            yield from ([MetricValue("correct", None, Status.SKIPPED, observer)] for _ in answers)
            return
        with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as readers:
            pictures = list(readers.map(_decoded, answers))
        whole = [
            (picture, answer)
            for picture, answer in zip(pictures, answers, strict=True)
            if not isinstance(picture, DatasetError)
        ]
        sights = _sights(observer, whole)
        verdicts = iter([_marks(pair[1], sight) for pair, sight in zip(whole, sights, strict=True)])
        for picture in pictures:
            if isinstance(picture, DatasetError):
                yield [MetricValue("correct", None, Status.MISSING_OUTPUT, str(picture))]
            else:
                yield [mark._replace(judge=self._weights[protocol]) for mark in next(verdicts)]

    def facts(self, painted: Sequence[Painted], *, seed: int) -> Iterator[list[Fact]]:
        """What the detector finds in each picture, by the first protocol that has its weights."""
        observer = self._any_observer()
        for start in range(0, len(painted), _TOGETHER):
            answers = [one.answer for one in painted[start : start + _TOGETHER]]
            sights = _sights(observer, [(answer.image, answer) for answer in answers])
            for answer, sight in zip(answers, sights, strict=True):
                yield object_facts(
                    answer.sample.reference,
                    sight,
                    classes=OBJECT_NAMES,
                    colors=COLORS,
                    seed=seed_for(seed, answer.sample.key, answer.output.draw, "facts"),
                )

    def _any_observer(self) -> Observer:
        """What looks at pictures under the first protocol that has its weights.

        Raises:
            UserError: if none has.
        """
        absent = []
        for protocol in self.card.protocols:
            found = self._observer(protocol)
            if not isinstance(found, str):
                return found
            absent.append(found)
        raise UserError(f"{self.card.title} cannot look at pictures. {absent[0]}")

    def _observer(self, protocol: str) -> Observer | str:
        """What looks at pictures under a protocol, or why there is nothing and what to do."""
        if protocol not in self._observers:
            try:
                self._observers[protocol] = self._load(protocol)
            except UserError as absent:
                reason = f"{absent.message} {absent.hint or ''}"
                self._observers[protocol] = " ".join(reason.split())
        return self._observers[protocol]

    def _load(self, protocol: str) -> Observer:
        if self._equipment is None:
            raise UserError("no detector")
        detector_files, clip_files = self._files(_DETECTORS[protocol]), self._files("clip")
        from pairuni_eval.api.grading_models import ColorNamer, Mask2Former, Observer, digest_of

        device = self._equipment.device
        detector = Mask2Former.load(detector_files, device=device, classes=len(OBJECT_NAMES))
        if self._colors is None:
            self._colors = ColorNamer.load(clip_files, device=device)
        looks, names = digest_of(detector_files), digest_of(clip_files)
        self._weights[protocol] = f"mask2former {looks}, clip {names}"
        return Observer(detector, self._colors)

    def _files(self, name: str) -> list[Path]:
        """The files of one of the card's weights; if there are none, the error says their place."""
        assert self._equipment is not None
        try:
            return self._equipment.data.weights(name)
        except UserError as absent:
            place, hint = f"DIR/weights/{name}/", absent.hint or ""
            more = "" if place in hint else f" Without network its files go into {place}."
            raise UserError(absent.message, hint=hint + more) from absent


def _decoded(answer: Answer) -> Image.Image | DatasetError:
    """The picture of an answer, or why there is none."""
    try:
        return answer.image
    except DatasetError as failure:
        return failure


def _sights(
    observer: Observer, pairs: Sequence[tuple[Image.Image, Answer]]
) -> list[Observation | str]:
    """What is seen in each picture, or why it is not; what fails together is tried again alone."""
    prompts = [answer.sample.reference for _, answer in pairs]
    try:
        with boundary(JudgeError):
            return list(observer.observe([picture for picture, _ in pairs], prompts))
    except BoundaryError as failure:
        if len(pairs) == 1:
            return [str(failure)]
        return [sight for pair in pairs for sight in _sights(observer, [pair])]


def _marks(answer: Answer, sight: Observation | str) -> list[MetricValue]:
    """The marks of a picture, or why it has none."""
    if isinstance(sight, str):
        return [MetricValue("correct", None, Status.JUDGE_FAILED, sight)]
    return geneval_marks(answer.sample.reference, sight)
