"""Samples of supervised fine-tuning, one after the other in one sequence.

A sample is texts and pictures in order. Within it a token sees what stands before it and all of its
own picture, but never a picture that is noise, unless it belongs to it; it sees nothing of another
sample, and positions begin at 0 in each. A text that is taught predicts its words and its end from
its start and its words.

A condition may be dropped: a picture that is left out still takes its position, a text does not.

Legend: L tokens of a pack, W words and marks, E words that are taught, T latent tokens, C numbers
of one, P numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.bagel.contexts import Marks


class Words(NamedTuple):
    """A text.

    Attributes:
        ids: Without its marks.
        taught: Whether it is an answer that is learned.
    """

    ids: Sequence[int]
    taught: bool = False


class SeenPicture(NamedTuple):
    """A picture that the vision tower sees.

    Attributes:
        patches_TP: Its patches.
        places_T: Rows of the position tables.
    """

    patches_TP: Tensor
    places_T: Tensor


class LatentPicture(NamedTuple):
    """A picture as latents: a source, or what is to be drawn.

    Attributes:
        tokens_TC: Its latents.
        places_T: Rows of the position table.
        time: 0 of a source; of what is drawn how much of it is noise, up to 1.
        noise_TC: The noise; None of a source.
    """

    tokens_TC: Tensor
    places_T: Tensor
    time: float = 0.0
    noise_TC: Tensor | None = None


class Dropped(NamedTuple):
    """A picture that was left out."""


SamplePart = Words | SeenPicture | LatentPicture | Dropped
Sample = Sequence[SamplePart]


class Pack(NamedTuple):
    """A sequence that is trained on.

    Attributes:
        ids_W: Words and marks, and where they stand.
        seen: Pictures for the tower, and where each begins.
        latents: Latent pictures, and where each begins.
        positions_L: Of the rotation.
        sample_L: The number of each token's sample.
        picture_L: The number of each token's picture, marks included; -1 of words.
        noisy_L: Whether that picture is to be drawn.
        taught_E: Where a word is predicted,
        labels_E: which one,
        weight_E: and 1 over the root of how many words the text teaches.
    """

    ids_W: Tensor
    words_W: Tensor
    seen: tuple[tuple[SeenPicture, int], ...]
    latents: tuple[tuple[LatentPicture, int], ...]
    positions_L: Tensor
    sample_L: Tensor
    picture_L: Tensor
    noisy_L: Tensor
    taught_E: Tensor
    labels_E: Tensor
    weight_E: Tensor

    def __len__(self) -> int:
        """Number of tokens L."""
        return len(self.positions_L)

    def visible(self) -> Tensor:
        """Which tokens each token sees (L, L)."""
        place_L = torch.arange(len(self), device=self.positions_L.device)
        return visible_tokens(place_L, self.sample_L, self.picture_L, self.noisy_L)


def visible_tokens(order: Tensor, sample: Tensor, picture: Tensor, noisy: Tensor) -> Tensor:
    """Which tokens each token sees (..., L, L).

    Args:
        order: What stands before what (..., L); tokens of one picture may share a number.
        sample: The number of each token's sample.
        picture: The number of its picture, marks included; negative of words.
        noisy: Whether that picture is to be drawn.
    """
    before = order[..., :, None] >= order[..., None, :]
    same = (picture[..., :, None] == picture[..., None, :]) & (picture >= 0)[..., None, :]
    alike = sample[..., :, None] == sample[..., None, :]
    return alike & (before | same) & (same | ~noisy[..., None, :])


class _Writer:
    """Puts tokens one after the other."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self.ids: list[tuple[int, int]] = []
        self.seen: list[tuple[SeenPicture, int]] = []
        self.latents: list[tuple[LatentPicture, int]] = []
        self.positions: list[int] = []
        self.samples: list[int] = []
        self.pictures: list[int] = []
        self.noisy: list[bool] = []
        self.taught: list[tuple[int, int, float]] = []
        self._sample = self._next = self._picture = 0

    def sample(self, sample: Sample) -> None:
        """One more sample."""
        self._next = 0
        for part in sample:
            if isinstance(part, Words):
                self._words(part)
            elif isinstance(part, Dropped):
                self._next += 1
            else:
                self._show(part)
        self._sample += 1

    def _words(self, words: Words) -> None:
        first = len(self.positions)
        said = [self._marks.text_start, *words.ids, self._marks.text_end]
        for id_ in said:
            self._token(id_, self._next, picture=-1)
            self._next += 1
        if words.taught:
            weight = (len(said) - 1) ** -0.5
            self.taught += [(first + place, id_, weight) for place, id_ in enumerate(said[1:])]

    def _show(self, picture: SeenPicture | LatentPicture) -> None:
        noisy = isinstance(picture, LatentPicture) and picture.noise_TC is not None
        self._token(self._marks.picture_start, self._next, self._picture, noisy=noisy)
        if isinstance(picture, LatentPicture):
            self.latents.append((picture, len(self.positions)))
        else:
            self.seen.append((picture, len(self.positions)))
        for _ in range(len(picture.places_T)):
            self._token(None, self._next, self._picture, noisy=noisy)
        self._token(self._marks.picture_end, self._next, self._picture, noisy=noisy)
        self._next += 1
        self._picture += 1

    def _token(self, id_: int | None, position: int, picture: int, *, noisy: bool = False) -> None:
        if id_ is not None:
            self.ids.append((id_, len(self.positions)))
        self.positions.append(position)
        self.samples.append(self._sample)
        self.pictures.append(picture)
        self.noisy.append(noisy)


def pack(samples: Sequence[Sample], marks: Marks) -> Pack:
    """Samples as one sequence, in order."""
    writer = _Writer(marks)
    for sample in samples:
        writer.sample(sample)
    ids, words = zip(*writer.ids, strict=True)
    taught, labels, weights = zip(*writer.taught, strict=True) if writer.taught else ((), (), ())
    return Pack(
        torch.tensor(ids),
        torch.tensor(words),
        tuple(writer.seen),
        tuple(writer.latents),
        torch.tensor(writer.positions),
        torch.tensor(writer.samples),
        torch.tensor(writer.pictures),
        torch.tensor(writer.noisy),
        torch.tensor(taught, dtype=torch.long),
        torch.tensor(labels, dtype=torch.long),
        torch.tensor(weights),
    )
