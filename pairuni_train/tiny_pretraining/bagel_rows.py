"""Lessons as rows of the tiny BAGEL: what is read, what is asked of it, and what sees what.

A row is one picture with several questions about it, or one prompt with several noisy versions of
its drawing. Questions stand side by side: each begins at the same position, sees the picture and
nothing of the others, as an adapter asks it alone; so do the noises of a drawing. Words and what
the tower sees stand first in a row, latents last, for which expert has a token is a slice then;
nothing but positions and `visible_tokens` says what comes before what.

A tenth of the prompts is dropped for guidance: of an edit now the words, now the source.

Legend: R rows, W places of the understanding expert, G of the generation expert, L = W + G,
E words that are taught, V = 16 tokens of a picture, K noises of a row, C numbers of a latent token.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pairuni_eval.api.tiny import world
from pairuni_eval.toolkit.networks import MARKS, bagel, noised_time
from pairuni_train.tiny_pretraining.batches import pixels_of
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.curriculum import ORDER, WEIGHTS, Example, Turn

_ENDING = 0.1  # share of an answer's weight for its end
_NONE: tuple[tuple[float, ...], ...] = ((),) * 5  # no word is taught
_NOWHERE = -1  # the sample of padding, the picture of words, the branch of what all may see


class RowToken(NamedTuple):
    """Where a token stands.

    Attributes:
        position: Of the rotation, which is also the order.
        picture: The number of its picture in the row.
        noisy: Whether that is to be drawn.
        branch: The number of the question or noise that it belongs to.
        sample: 0, or -1 of what is not there.
    """

    position: int
    picture: int = _NOWHERE
    noisy: bool = False
    branch: int = _NOWHERE
    sample: int = 0


class BagelRows(NamedTuple):
    """Rows of one kind.

    Attributes:
        ids_RW: Words and marks; what the tower sees stands in `seen` places.
        tokens_5RL: The five numbers of each `RowToken`.
        seen: First place of the tower's tokens in every row; None where a row has no picture.
        sources_RN: Cell states of the pictures; (0, 16) of prompts.
        drawings_RN: Cell states of what is drawn; (0, 16) of questions.
        times_RK: How much noise each drawing has.
        row_E, place_E: Where a word is predicted,
        label_E: which,
        weight_E: what it counts,
        word_lesson_E: and its lesson.
        drawn_weight_R: What a row's drawing counts,
        drawn_lesson_R: and its lesson.
    """

    ids_RW: Tensor
    tokens_5RL: Tensor
    seen: int | None
    sources_RN: Tensor
    drawings_RN: Tensor
    times_RK: Tensor
    row_E: Tensor
    place_E: Tensor
    label_E: Tensor
    weight_E: Tensor
    word_lesson_E: Tensor
    drawn_weight_R: Tensor
    drawn_lesson_R: Tensor

    @property
    def pixels_RCHW(self) -> Tensor:
        """The pictures in -1..1."""
        return pixels_of(self.sources_RN.numpy())


@dataclass
class _Row:
    """A row while it is written."""

    ids: list[int] = field(default_factory=list)
    words: list[RowToken] = field(default_factory=list)
    latents: list[RowToken] = field(default_factory=list)
    taught: list[tuple[int, int, float, int]] = field(default_factory=list)
    next: int = 0

    def say(self, ids: Sequence[int], *, branch: int = _NOWHERE) -> None:
        """Words from the next position on."""
        self.words += [RowToken(self.next + place, branch=branch) for place in range(len(ids))]
        self.ids += ids
        self.next += len(ids)

    def show(self, ids: Sequence[int], latents: int, **token: int) -> None:
        """A picture at the next position: marks, or all that the tower sees, and latents."""
        one = RowToken(self.next, **token)  # type: ignore[arg-type]
        self.ids += ids
        self.words += [one] * len(ids)
        self.latents += [one] * latents


class BagelRowMaker:
    """Makes rows of examples.

    Args:
        made: The model, for its tokenizer.
        cfg: Settings.
        noises: Noisy versions of each drawing.
        shift: What moves times towards noise.
    """

    def __init__(self, made: bagel.TinyBagel, cfg: PretrainConfig, noises: int, shift: float):
        self._tokenizer, self._cfg = made.tokenizer, cfg
        self._noises, self._shift = noises, shift
        start, end, first, last = map(made.id_of, MARKS)
        self._start, self._end, self._picture = start, end, [first, last]
        self._unknown = made.id_of(bagel.UNK)

    def rows(self, examples: Sequence[Example], rng: random.Random) -> BagelRows:
        """A row for each of some examples that are all questions, or all prompts, or all edits."""
        count = Counter(turn.lesson for one in examples for turn in one.turns)
        share = {name: WEIGHTS[name] / many for name, many in count.items()}
        drawn = examples[0].drawing is not None
        make = self._drawing if drawn else self._talk
        rows = [make(one, share, rng) for one in examples]
        width = max(len(row.ids) for row in rows)
        away = RowToken(0, sample=_NOWHERE)
        ids = [row.ids + [self._end] * (width - len(row.ids)) for row in rows]
        tokens = [row.words + [away] * (width - len(row.words)) + row.latents for row in rows]
        taught = [(number, *one) for number, row in enumerate(rows) for one in row.taught]
        row_E, place_E, label_E, weight_E, lesson_E = zip(*taught, strict=True) if taught else _NONE
        lessons = [one.turns[0].lesson for one in examples] if drawn else []
        marks = len(self._picture) * (1 + self._noises) if drawn else 0
        times = [self._times(rng) for _ in lessons]
        return BagelRows(
            ids_RW=torch.tensor(ids),
            tokens_5RL=torch.tensor(tokens).permute(2, 0, 1),
            seen=None if examples[0].picture is None else marks + 1,
            sources_RN=_states([one.picture for one in examples]),
            drawings_RN=_states([one.drawing for one in examples]),
            times_RK=torch.tensor(times).view(len(lessons), self._noises),
            row_E=torch.tensor(row_E, dtype=torch.long),
            place_E=torch.tensor(place_E, dtype=torch.long),
            label_E=torch.tensor(label_E, dtype=torch.long),
            weight_E=torch.tensor(weight_E, dtype=torch.float32),
            word_lesson_E=torch.tensor(lesson_E, dtype=torch.long),
            drawn_weight_R=torch.tensor([share[lesson] for lesson in lessons]),
            drawn_lesson_R=torch.tensor([ORDER[lesson] for lesson in lessons], dtype=torch.long),
        )

    def _talk(self, one: Example, share: Mapping[str, float], rng: random.Random) -> _Row:  # noqa: ARG002
        """A picture and its questions."""
        row = _Row()
        row.show([self._picture[0], *self._unseen(), self._picture[1]], 0, picture=0)
        for branch, turn in enumerate(one.turns):
            row.next = 1
            row.say(self._text(turn.text), branch=branch)
            self._answer(row, turn, share[turn.lesson], branch)
        return row

    def _answer(self, row: _Row, turn: Turn, share: float, branch: int) -> None:
        ids = self._text(turn.answer or "")
        first, words = len(row.ids), len(ids) - 2
        weights = [(1 - _ENDING) * share / words] * words + [_ENDING * share]
        row.taught += [
            (first + place, label, weight, ORDER[turn.lesson])
            for place, (label, weight) in enumerate(zip(ids[1:], weights, strict=True))
        ]
        row.say(ids[:-1], branch=branch)

    def _drawing(self, one: Example, share: Mapping[str, float], rng: random.Random) -> _Row:  # noqa: ARG002
        """Marks of all noises, the source, the prompt; then latents in the order of the marks.

        What is dropped stays in its place and is nowhere.
        """
        row, edits = _Row(), one.picture is not None
        dropped = rng.random() < self._cfg.prompt_dropout
        sourceless = dropped and edits and rng.random() < 0.5
        text = [] if dropped and not sourceless else self._disturbed(one.turns[0].text, rng)
        there = _NOWHERE if sourceless else 0
        begin = 0 if sourceless or not edits else 2
        noise = begin + len(text)
        for number in range(self._noises):
            row.next = noise
            row.show(self._picture, 0, picture=2 + number, noisy=True, branch=number)
        if edits:
            row.next = 0
            row.show(self._picture, world.CELLS, picture=0, sample=there)
            row.next = 1
            seen = [self._picture[0], *self._unseen(), self._picture[1]]
            row.show(seen, 0, picture=1, sample=there)
        row.next = begin
        row.say(text)
        for number in range(self._noises):
            row.next = noise
            row.show([], world.CELLS, picture=2 + number, noisy=True, branch=number)
        return row

    def _unseen(self) -> list[int]:
        """Words in the places of what the tower sees."""
        return [self._picture[0]] * world.CELLS

    def _times(self, rng: random.Random) -> list[float]:
        return [noised_time(rng.gauss(0.0, 1.0), self._shift) for _ in range(self._noises)]

    def _text(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self._start, *ids, self._end]

    def _disturbed(self, text: str, rng: random.Random) -> list[int]:
        """A text in which now and then a word is unknown."""
        start, *ids, end = self._text(text)
        forget = self._cfg.unknown_words
        return [start, *(self._unknown if rng.random() < forget else one for one in ids), end]


def _states(scenes: Sequence[world.Scene | None]) -> Tensor:
    found = [world.states_of(one) for one in scenes if one is not None]
    return torch.from_numpy(np.stack(found) if found else np.zeros((0, world.CELLS), np.int64))
