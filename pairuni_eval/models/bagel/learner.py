"""BAGEL as a learner: cross-entropy of answers and the error of velocities, over one pack.

    question   [picture, seen] [question] [answer, taught]
    drawing    [prompt] [picture, noisy]

A picture that is drawn has one time and one noise a step, drawn from the lesson's seed. Which
weights of the understanding expert both losses reach is read off the network: those of the
generation expert see no word, the head sees no picture, and behind the keys and values of the last
layer no token of the understanding expert is looked at by a latent.

Departures from the official code: pictures are encoded one at a time, so that none sees another's
padding; pairs hold no edits, so that of all conditions the prompt alone can be dropped.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel import pictures as pics
from pairuni_eval.models.bagel.config import AUTOENCODER_FILE, WEIGHT_FILES, ResizeRule
from pairuni_eval.models.bagel.contexts import MARKS
from pairuni_eval.models.bagel.loading import LoadedBagel
from pairuni_eval.models.bagel.network import GENERATION, Layer
from pairuni_eval.models.bagel.packing import LatentPicture, Sample, SeenPicture, Words, pack
from pairuni_eval.models.bagel.supervised import losses, noised_time
from pairuni_eval.models.base import Task
from pairuni_eval.models.learner import Learner, Lesson, LessonSettings, PreparedLesson
from pairuni_eval.models.trained_module import block_of

_OWN = "network."  # what this module puts before the names of the weights
_EXPERTS = "language_model.model."
_REACHED = (_EXPERTS, "vit_model.", "connector.")
# Of the last layer's understanding expert, what latents look back on.
_LOOKED_AT = ("k_proj", "v_proj", "k_norm", "input_layernorm")


class BagelLearner(nn.Module):
    """A loaded BAGEL that is taught.

    Args:
        loaded: Weights, tokenizer and sizes; the auto-encoder is never trained.
        settings: How lessons are prepared.
    """

    def __init__(self, loaded: LoadedBagel, settings: LessonSettings) -> None:
        super().__init__()
        self.network = loaded.network
        self._settings = settings
        self._others = (loaded,)  # not a module of this one

    @property
    def _loaded(self) -> LoadedBagel:
        return self._others[0]

    @torch.no_grad()
    def prepare(self, lessons: Sequence[Lesson]) -> list[PreparedLesson]:
        """See `Learner`.

        Raises:
            UserError: for a picture that the position tables are too small for.
        """
        return [self._question(one) if one.task == "und" else self._drawing(one) for one in lessons]

    def forward(self, prepared: Sequence[PreparedLesson]) -> Mapping[Task, Tensor]:
        """See `Learner`."""
        made = pack([one.inputs for one in prepared], self._loaded.marks)
        found = losses(self.network, made)
        words_E = found.words_E
        if self._settings.reweighted:
            words_E = words_E * made.weight_E.to(words_E.device)
        tasks = {one.task for one in prepared}
        both: dict[Task, Tensor] = {
            "und": words_E.sum(),
            "gen": found.velocities_TC.mean(1).sum(),
        }
        return {task: total for task, total in both.items() if task in tasks}

    def _question(self, lesson: Lesson) -> PreparedLesson:
        config, answer = self._loaded.config, self._ids(lesson.answer)
        image = pics.resized(pics.on_white(lesson.picture), self._loaded.shapes.asked)
        side = config.vision.patch_size
        places_T = self._places(image, side, config.vision_side)
        patches_TP = pics.patches(pics.to_pixels(image), side)
        sample: Sample = (
            SeenPicture(patches_TP, places_T),
            Words(self._ids(lesson.text)),
            Words(answer, taught=True),
        )
        words = len(answer) + 1
        return PreparedLesson(
            "und", _length(sample), words**0.5 if self._settings.reweighted else words, sample
        )

    def _drawing(self, lesson: Lesson) -> PreparedLesson:
        rng = random.Random(lesson.seed)
        noise = torch.Generator().manual_seed(rng.getrandbits(60))
        loaded, config = self._loaded, self._loaded.config
        image = pics.resized(pics.on_white(lesson.picture), self._drawn_rule())
        places_T = self._places(image, config.cell, config.latent_side)
        pixels = pics.to_pixels(image)[None].to(self.network.device)
        moments = loaded.autoencoder.moments(pixels)
        spread = torch.randn(moments.chunk(2, dim=1)[0].shape, generator=noise)
        latents = loaded.autoencoder.drawn(moments, spread.to(moments.device))
        tokens_TC = pics.patches(latents, config.latent_patch)[0].cpu()
        time = noised_time(rng.gauss(0.0, 1.0), self._settings.time_shift)
        noise_TC = torch.randn(tokens_TC.shape, generator=noise)
        drawn = LatentPicture(tokens_TC, places_T, time, noise_TC)
        dropped = rng.random() < self._settings.prompt_dropout
        sample: Sample = (drawn,) if dropped else (Words(self._ids(lesson.text)), drawn)
        return PreparedLesson("gen", _length(sample), len(places_T), sample)

    def _drawn_rule(self) -> ResizeRule:
        rule, longest = self._loaded.shapes.source, self._settings.longest
        if longest is None:
            return rule
        shortest = min(longest, rule.shortest)
        return ResizeRule(longest=longest, shortest=shortest, stride=rule.stride, area=rule.area)

    def _places(self, image: Any, cell: int, side: int) -> Tensor:
        width, height = image.size
        grid = (height // cell, width // cell)
        if max(grid) > side:
            raise UserError(
                f"A picture of {width}x{height} is more than the {side * cell} pixels of a side "
                "that the model has positions for.",
                hint="Set a smaller size: --set longest=512",
            )
        return pics.places(grid, side)

    def _ids(self, text: str) -> list[int]:
        return list(self._loaded.tokenizer.encode(text, add_special_tokens=False).ids)

    def layers(self) -> Iterable[nn.Module]:
        """The layers of both experts."""
        layers: Iterable[nn.Module] = self.network.experts.layers
        return layers

    def checkpoint_activations(self) -> None:
        """Run the layers again in the backward pass."""
        for layer in self.network.experts.layers:
            assert isinstance(layer, Layer)
            inner = layer.forward
            layer.forward = lambda *given, inner=inner: checkpoint(  # type: ignore[method-assign]
                inner, *given, use_reentrant=False
            )

    def shared_parameters(self) -> dict[str, str]:
        """What both losses reach where pictures are seen in questions alone, by block."""
        names = [name for name, _ in self.network.named_parameters()]
        shared = shared_weights(names, self._loaded.config.language.num_hidden_layers)
        return {
            f"{_OWN}{name}": block_of(name.removeprefix(_EXPERTS))
            for name in shared
            if name.startswith(_EXPERTS)
        }

    def save(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write a folder of the official format, with its `pairuni.json`."""
        own = self.state_dict() if weights is None else weights
        named = {name.removeprefix(_OWN): tensor for name, tensor in own.items()}
        written = {
            WEIGHT_FILES[0]: named,
            AUTOENCODER_FILE: self._loaded.autoencoder.state_dict(),
        }
        self._loaded.files.write(folder, declaration, written)


def shared_weights(names: Iterable[str], layers: int) -> list[str]:
    """The weights that get a gradient from words and from velocities.

    Those of the vision tower are among them where the sources of edits are seen.

    Args:
        names: Of all weights.
        layers: Of the experts.
    """
    last = f"{_EXPERTS}layers.{layers - 1}."
    return [
        name
        for name in names
        if name.startswith(_REACHED)
        and GENERATION not in name
        and name != f"{_EXPERTS}norm.weight"
        and (not name.startswith(last) or any(one in name for one in _LOOKED_AT))
    ]


def _conforms(learner: BagelLearner) -> Learner:
    """Held by the type checker: the class keeps the whole protocol."""
    return learner


def _length(sample: Sample) -> int:
    return sum(
        MARKS + (len(part.ids) if isinstance(part, Words) else len(part.places_T))  # type: ignore[union-attr]
        for part in sample
    )
