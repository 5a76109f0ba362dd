"""Rewards of pictures by a CLIP: HPSv2 (the paper's), CLIPScore and PickScore.

The scorers are those of the evaluation (`pairuni_eval.grading_models`), in full float32, so that
what trains a model and what measures it are one number. Pictures are scored as they were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pairuni_eval.api import Data
from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import catalog
from pairuni_train.grpo.rewards import Judged, Reward, check_options
from pairuni_train.pair_data.record import Generation

if TYPE_CHECKING:
    from pairuni_eval.api.grading_models import ImageTextScorer

_CONFIGURATION = "open_clip_config.json"  # read where weights are not of the published size
_WITHOUT_HUB = (
    "Fetch them where there is a network: pairuni-eval fetch --benchmarks hpsv2 --to DIR. Then "
    '--set \'gen.rewards=[{name="hps", options={data="DIR"}}]\' reads them from there.'
)


class PictureReward(Reward):
    """How well a picture fits its prompt, by a scorer."""

    def __init__(self, scorer: ImageTextScorer) -> None:
        self._scorer = scorer

    def memory(self) -> int:
        """Bytes of the networks of the scorer."""
        return self._scorer.memory()

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        """The scorer's own scale; NaN for what is not a picture."""
        values = [math.nan] * len(batch)
        places, images, prompts = [], [], []
        for place, one in enumerate(batch):
            if isinstance(one.half, Generation) and one.reply.image is not None:
                places.append(place)
                images.append(one.reply.image)
                prompts.append(one.half.prompt)
        for place, score in zip(places, self._scorer.score(images, prompts), strict=True):
            values[place] = score
        return values


class Hps(PictureReward):
    """HPSv2: the cosine of a CLIP that was trained on people's choices, about 0.2 to 0.33."""

    VERSIONS = ("v2.1", "v2.0")
    extra = "hps"

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Options: `version`, `device`, and `data`, the folder of `pairuni-eval run --data`.

        Without `data` the weights come from the hub, as for the benchmark hpsv2.
        """
        check_options("hps", options, ("version", "device", "data"))
        version = str(options.get("version", cls.VERSIONS[0]))
        if version not in cls.VERSIONS:
            raise UserError(
                f"The reward 'hps' has no version '{version}'; it has: {', '.join(cls.VERSIONS)}."
            )
        folder = Path(options["data"]) if "data" in options else None
        data = Data(catalog.find_card("hpsv2"), catalog.benchmark_folders()["hpsv2"].folder, folder)
        try:
            weights, tokenizer = data.weights(version), data.weights("tokenizer")
        except UserError as absent:
            raise UserError(absent.message, hint=_WITHOUT_HUB) from absent
        from pairuni_eval.api.grading_models import HpsScorer

        beside = [path.with_name(_CONFIGURATION) for path in weights]
        files = [*weights, *(path for path in beside if path.is_file()), *tokenizer]
        return cls(HpsScorer.load(files, device=_device("hps", options)))


class ClipScore(PictureReward):
    """CLIPScore of Hessel et al. 2021: 2.5 max(cos, 0)."""

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Options: `files`, the weights, configuration and merge list of a CLIP, and `device`."""
        from pairuni_eval.api.grading_models import ClipScorer

        return cls(_load("clipscore", ClipScorer, options))


class PickScore(PictureReward):
    """PickScore of Kirstain et al. 2023, about 15 to 25."""

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Self:
        """Options: `files` and `device`, as for `ClipScore`."""
        from pairuni_eval.api.grading_models import PickScorer

        return cls(_load("pickscore", PickScorer, options))


def _load(name: str, scorer: type[ImageTextScorer], options: Mapping[str, Any]) -> ImageTextScorer:
    check_options(name, options, ("files", "device"))
    files = options.get("files")
    if not files:
        raise UserError(
            f"The reward '{name}' needs `files`: the weights, the configuration and the merge list "
            "of its CLIP, or the folder that holds them."
        )
    paths = [Path(files)] if isinstance(files, str) else [Path(path) for path in files]
    return scorer.load(paths, device=_device(name, options))


def _device(name: str, options: Mapping[str, Any]) -> str:
    """The device that a reward's options name, found to be here."""
    from pairuni_eval.toolkit.networks import AUTO, pick_device

    setting = f"the option `device` of the reward '{name}'"
    return str(pick_device(str(options.get("device", AUTO)), setting=setting))
