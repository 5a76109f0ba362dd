"""Lessons as rows of a masked-diffusion model: what stands there, what is hidden, what it weighs.

A row is one question or one drawing. Some of its places hold a mask token, and the loss is the
cross-entropy of what stood there. The share of hidden places is cos(pi u / 2) of a uniform u, at
least one place, as in the official training; half of the answers are hidden whole, for that is how
they are asked for. A tenth of the prompts for pictures is dropped for guidance: of edits now the
words, now the source.

Legend: R rows, T places.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pairuni_eval.toolkit.networks import Ids, dimoo, prompts
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.curriculum import ORDER, Example, Turn

_WHOLE = 0.5  # of the answers are hidden whole
_BATCHES = 3  # of a step
_ENDING = 0.1  # share of an answer's weight for its end and padding


class DimooRow(NamedTuple):
    """A row before it is padded.

    Attributes:
        ids: All tokens, masks in place of what is hidden.
        hidden: Places that are.
        wanted: What stood there.
        weights: The weight of each in the loss.
        lesson: Its number.
    """

    ids: Ids
    hidden: tuple[int, ...]
    wanted: Ids
    weights: tuple[float, ...]
    lesson: int


class DimooBatch(NamedTuple):
    """Rows as tensors; hidden places one after the other, (H,) each.

    Attributes:
        row_H: The row of each.
        place_H: Its place.
    """

    ids_RT: Tensor
    keep_RT: Tensor
    row_H: Tensor
    place_H: Tensor
    wanted_H: Tensor
    weight_H: Tensor
    lesson_H: Tensor


class DimooRows:
    """Makes rows of examples.

    Args:
        made: The model, for its layout.
        cfg: Settings.
        weights: The share of each lesson in the loss of a step.
    """

    def __init__(self, made: dimoo.TinyDimoo, cfg: PretrainConfig, weights: dict[str, float]):
        self._layout, self._ids = made.layout, made.config.ids
        self._cfg, self._weights = cfg, weights

    def batches(self, examples: Sequence[Example], rng: random.Random) -> list[DimooBatch]:
        """All rows of some examples, one for each turn, in batches of about one length.

        Drawings have half the length of some questions: together half of a batch were padding.
        """
        turns = [(one, turn) for one in examples for turn in one.turns]
        count = Counter(turn.lesson for _, turn in turns)
        rows = [
            self._row(one, turn, self._weights[turn.lesson] / count[turn.lesson], rng)
            for one, turn in turns
        ]
        rows.sort(key=lambda row: len(row.ids))
        size = math.ceil(len(rows) / _BATCHES)
        return [_padded(rows[start : start + size]) for start in range(0, len(rows), size)]

    def _row(self, one: Example, turn: Turn, share: float, rng: random.Random) -> DimooRow:
        if one.drawing is not None:
            return self._drawn(one, turn, share, rng)
        assert one.picture is not None
        words = self._layout.words(prompts.ask(turn.text))
        prefix = self._layout.with_pictures(words, [dimoo.codes_of(one.picture)])
        return self._answered(prefix, turn, share, rng)

    def _drawn(self, one: Example, turn: Turn, share: float, rng: random.Random) -> DimooRow:
        layout = self._layout
        said = prompts.draw(turn.text) if one.picture is None else prompts.edit(turn.text)
        words, sources = layout.words(said), [] if one.picture is None else [one.picture]
        if rng.random() < self._cfg.prompt_dropout:
            if sources and rng.random() < 0.5:
                sources = []
            else:
                words = layout.unconditional(said)
        codes = [dimoo.codes_of(source) for source in sources]
        prefix = layout.with_pictures(words, codes) if codes else words
        assert one.drawing is not None
        drawing = dimoo.codes_of(one.drawing)
        tail = layout.drawing(dimoo.GRID, drawing)
        hidden = _chosen(tail.places, rng)
        weights = [share / len(hidden)] * len(hidden)
        return self._hide((*prefix, *tail.ids), len(prefix), hidden, weights, turn.lesson)

    def _answered(self, prefix: Ids, turn: Turn, share: float, rng: random.Random) -> DimooRow:
        said = self._layout.plain(turn.answer or "")
        places = max(dimoo.ANSWER, len(said) + 1)
        tail = self._layout.answer(places)
        content = (*said, self._ids.answer_end, *[self._ids.pad] * (places - len(said) - 1))
        ids = (*prefix, tail.ids[0], *content, tail.ids[-1])
        all_places = tuple(tail.places)
        hidden = all_places if rng.random() < _WHOLE else _chosen(all_places, rng)
        words = [place for place in hidden if place <= len(said)]
        ending = len(hidden) - len(words)
        weights = [
            (1 - _ENDING) * share / len(words) if place <= len(said) else _ENDING * share / ending
            for place in hidden
        ]
        return self._hide(ids, len(prefix), hidden, weights, turn.lesson)

    def _hide(
        self,
        ids: Ids,
        start: int,
        hidden: Sequence[int],
        weights: Sequence[float],
        lesson: str,
    ) -> DimooRow:
        places = tuple(start + place for place in hidden)
        wanted = tuple(ids[place] for place in places)
        covered = list(ids)
        for place in places:
            covered[place] = self._ids.mask
        return DimooRow(tuple(covered), places, wanted, tuple(weights), ORDER[lesson])


def _chosen(places: Sequence[int], rng: random.Random) -> tuple[int, ...]:
    """Some of the places, as many as the cosine of a random time says, at least one."""
    share = math.cos(math.pi / 2 * rng.random())
    return tuple(sorted(rng.sample(list(places), max(1, round(share * len(places))))))


def _padded(rows: Sequence[DimooRow]) -> DimooBatch:
    longest = max(len(row.ids) for row in rows)
    ids_RT = torch.zeros(len(rows), longest, dtype=torch.long)
    keep_RT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids_RT[number, : len(row.ids)] = torch.tensor(row.ids)
        keep_RT[number, : len(row.ids)] = True
    pairs = [(number, place) for number, row in enumerate(rows) for place in row.hidden]
    return DimooBatch(
        ids_RT,
        keep_RT,
        torch.tensor([number for number, _ in pairs]),
        torch.tensor([place for _, place in pairs]),
        torch.tensor([token for row in rows for token in row.wanted]),
        torch.tensor([weight for row in rows for weight in row.weights]),
        torch.tensor([row.lesson for row in rows for _ in row.hidden]),
    )
