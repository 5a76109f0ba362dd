"""The HPSv2 benchmark: 800 prompts in each of four styles, one picture each, scored by HPS itself.

Files: `anime.json`, `concept-art.json`, `paintings.json`, `photo.json`, lists of prompts. The score
is 100 times the cosine of picture and prompt, in float32; a protocol is a version of the scorer's
weights, and figures of two versions cannot be compared. Only one version is held in memory.
Departures: the picture is scored as it was drawn, where upstream's users save it as JPEG first; on
a GPU upstream's products are float16. A prompt without picture lowers the coverage; upstream prints
a line and takes the mean over the rest, as this does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.api import (
    Answer,
    Benchmark,
    BoundaryError,
    Card,
    Data,
    DatasetError,
    Equipment,
    Item,
    Judge,
    JudgeError,
    MetricValue,
    Status,
    UserError,
    boundary,
    json_value,
)

if TYPE_CHECKING:
    from PIL import Image

    from pairuni_eval.api.grading_models import HpsScorer


SCALE = 100  # the benchmark prints cosines times this
STYLES = ("anime", "concept-art", "paintings", "photo")
_CONFIGURATION = "open_clip_config.json"  # read where weights are not of the published size


class _Loaded(NamedTuple):
    """A version's scorer, or why there is none."""

    version: str
    scorer: HpsScorer | UserError


class HpsV2(Benchmark):
    """See the module docstring."""

    extra = "hps"

    def __init__(self, card: Card, folder: Path) -> None:
        super().__init__(card, folder)
        self._equipment: Equipment | None = None
        self._loaded: _Loaded | None = None

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a prompt, style by style; the key is upstream's file name without ending.

        Raises:
            UserError: for a file that is not a list of texts.
        """
        for path in data.files():
            for number, prompt in enumerate(_prompts(path)):
                yield self.item(
                    key=f"{path.stem}/{number:05d}",
                    parts=(prompt,),
                    reference={},
                    tags={"style": path.stem},
                )

    def equip(self, data: Data, *, device: str) -> None:
        """Remember where weights are; a version is loaded when its protocol comes up."""
        self._equipment, self._loaded = Equipment(data, device), None

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """`score` of every picture, all pictures together."""
        scorer = self._scorer(protocol)
        if isinstance(scorer, UserError):
            reason = " ".join(filter(None, ("no scorer:", scorer.message, scorer.hint)))
            yield from ([MetricValue("score", None, Status.SKIPPED, reason)] for _ in answers)
            return
        pictures = [_picture(answer) for answer in answers]
        pairs = [
            (picture, answer.sample.text)
            for picture, answer in zip(pictures, answers, strict=True)
            if not isinstance(picture, DatasetError)
        ]
        scored = iter(_scores(scorer, pairs))
        for picture in pictures:
            if isinstance(picture, DatasetError):
                yield [MetricValue("score", None, Status.MISSING_OUTPUT, str(picture))]
            else:
                yield [next(scored)]

    def _scorer(self, version: str) -> HpsScorer | UserError:
        if self._loaded is None or self._loaded.version != version:
            self._loaded = None  # frees the other version before this one is read
            self._loaded = _Loaded(version, self._load(version))
        return self._loaded.scorer

    def _load(self, version: str) -> HpsScorer | UserError:
        if self._equipment is None:
            return UserError("no weights were looked for.")
        data, device = self._equipment
        try:
            weights, tokenizer = data.weights(version), data.weights("tokenizer")
            from pairuni_eval.api.grading_models import HpsScorer

            beside = [path.with_name(_CONFIGURATION) for path in weights]
            sizes = [path for path in beside if path.is_file()]
            return HpsScorer.load([*weights, *sizes, *tokenizer], device=device)
        except UserError as failure:
            return failure


def _prompts(path: Path) -> list[str]:
    if path.stem not in STYLES:
        raise UserError(f"{path}: no style of the benchmark ({', '.join(STYLES)}).")
    found = json_value(path)
    if not isinstance(found, list) or not all(isinstance(prompt, str) for prompt in found):
        raise UserError(f"{path}: expected a list of prompts (texts).")
    return found


def _picture(answer: Answer) -> Image.Image | DatasetError:
    try:
        return answer.image
    except DatasetError as broken:
        return broken


def _scores(scorer: HpsScorer, pairs: Sequence[tuple[Image.Image, str]]) -> list[MetricValue]:
    """One mark a pair; what fails together is tried again alone, and then has no score."""
    if not pairs:
        return []
    try:
        with boundary(JudgeError):
            images, texts = zip(*pairs, strict=True)
            return [_mark(cosine) for cosine in scorer.score(images, texts)]
    except BoundaryError as failure:
        if len(pairs) == 1:
            return [MetricValue("score", None, Status.JUDGE_FAILED, str(failure))]
        return [mark for pair in pairs for mark in _scores(scorer, [pair])]


def _mark(cosine: float) -> MetricValue:
    if not math.isfinite(cosine):
        return MetricValue("score", None, Status.JUDGE_FAILED, "the scorer gave no finite number")
    return MetricValue("score", SCALE * cosine)
