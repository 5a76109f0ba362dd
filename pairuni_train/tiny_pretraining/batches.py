"""Training rows to padded tensors, and their weights in the loss.

Shapes: B rows, T tokens, N = 16 cells, C channels, H x W pixels.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import JanusProcessor

from pairuni_eval.api.tiny import IntArray, world
from pairuni_eval.toolkit.networks import janus
from pairuni_train.tiny_pretraining.config import PretrainConfig
from pairuni_train.tiny_pretraining.curriculum import ORDER, WEIGHTS, Example, Turn, sources


class PretrainBatch(NamedTuple):
    """Rows of one group, padded on the right; all but the pictures and codes are (B, T).

    `weight_BT` is the share in the loss of predicting the token AT that place, 0 for prompts;
    `lesson_BT` numbers the lesson of that place in the order of `WEIGHTS`.
    """

    ids_BT: Tensor
    image_BT: Tensor
    code_BT: Tensor
    weight_BT: Tensor
    lesson_BT: Tensor
    pixels_BCHW: Tensor | None
    codes_BN: Tensor | None


class Piece(NamedTuple):
    """A stretch of a row: its tokens, and the weight of each in the loss (0 in a prompt)."""

    tokens: list[int]
    weights: list[float]
    lesson: int


class ExampleEncoder:
    """Turns examples into batches; the VQ code of a cell is its state (see `train_vq`)."""

    def __init__(self, processor: JanusProcessor, cfg: PretrainConfig):
        """Look up the ids that the layouts need."""
        self._tokenizer = processor.tokenizer
        self._cfg = cfg
        ids = self._tokenizer.convert_tokens_to_ids
        self._image, self._boi, self._eos = ids(janus.IMAGE), ids(janus.BOI), ids(janus.EOS)
        self._pad, self._bos, self._unk = ids(janus.PAD), ids(janus.BOS), ids(janus.UNK)

    def batch(self, examples: Sequence[Example], rng: random.Random) -> PretrainBatch:
        """One batch of examples of one group."""
        count = Counter(turn.lesson for example in examples for turn in example.turns)
        share = {name: WEIGHTS[name] / n for name, n in count.items()}
        rows = [self._pieces(example, share, rng) for example in examples]
        length = max(sum(len(piece.tokens) for piece in row) for row in rows)
        ids = torch.full((len(rows), length), self._pad)
        weight, lesson = torch.zeros(ids.shape), torch.zeros_like(ids)
        for i, row in enumerate(rows):
            end = sum(len(piece.tokens) for piece in row)
            ids[i, :end] = torch.tensor([token for piece in row for token in piece.tokens])
            weight[i, :end] = torch.tensor([w for piece in row for w in piece.weights])
            lesson[i, :end] = torch.tensor([p.lesson for p in row for _ in p.tokens])
        return self._batch(examples, ids, weight, lesson)

    def _batch(
        self, examples: Sequence[Example], ids_BT: Tensor, weight_BT: Tensor, lesson_BT: Tensor
    ) -> PretrainBatch:
        draws = examples[0].drawing is not None
        code_BT = (weight_BT > 0) & draws
        codes_BN = ids_BT[code_BT].view(-1, world.CELLS) if draws else None
        ids_BT = ids_BT.masked_fill(code_BT, self._pad)
        # A dropped prompt has lost its placeholders and with them its picture.
        image_BT = ids_BT == self._image
        pictures = [world.states_of(e.picture) for e in examples if e.picture is not None]
        pixels = pixels_of(np.stack(pictures))[image_BT.any(dim=1)] if pictures else None
        return PretrainBatch(ids_BT, image_BT, code_BT, weight_BT, lesson_BT, pixels, codes_BN)

    def _pieces(self, example: Example, share: dict[str, float], rng: random.Random) -> list[Piece]:
        pieces = [Piece([self._bos], [0.0], 0)]
        for place, turn in enumerate(example.turns):
            images = int(example.picture is not None and place == 0)
            prompt, lesson = self._prompt(turn.text, images), ORDER[turn.lesson]
            if example.drawing is not None:
                prompt = self._disturbed([*prompt, self._boi], rng)
            pieces.append(Piece(prompt, [0.0] * len(prompt), lesson))
            pieces.append(self._target(turn, example.drawing, share[turn.lesson]))
        return pieces

    def _target(self, turn: Turn, drawing: world.Scene | None, share: float) -> Piece:
        if drawing is not None:
            codes = world.states_of(drawing).tolist()
            return Piece(codes, [share / len(codes)] * len(codes), ORDER[turn.lesson])
        words = self._ids(turn.answer or "")
        # That an answer ends is learned at once, so the end is given a tenth of the weight.
        weights = [0.9 * share / len(words)] * len(words) + [0.1 * share]
        return Piece([*words, self._eos], weights, ORDER[turn.lesson])

    def _prompt(self, text: str, images: int) -> list[int]:
        placeholder = f"{janus.BOI}{janus.IMAGE * world.CELLS}{janus.EOI}"
        return self._ids(janus.chat(text, images=images).replace(janus.IMAGE, placeholder))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.backend_tokenizer.encode(
            text, add_special_tokens=False
        ).ids
        return ids

    def _disturbed(self, prompt: list[int], rng: random.Random) -> list[int]:
        """Drop a whole prompt as transformers' guidance does, or forget single words."""
        if rng.random() < self._cfg.prompt_dropout:
            return [token if token == self._boi else self._pad for token in prompt]
        first_word = len(janus.SPECIAL)
        forget = self._cfg.unknown_words
        return [
            self._unk if token >= first_word and rng.random() < forget else token
            for token in prompt
        ]


def pixels_of(states_BN: IntArray) -> Tensor:
    """Cell states drawn as (B, 3, 32, 32) floats in [-1, 1]."""
    pixels_BHWC = torch.from_numpy(world.render_states(states_BN))
    return pixels_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def step_examples(
    rng: random.Random, cfg: PretrainConfig, scales: Mapping[str, float] | None = None
) -> dict[str, list[Example]]:
    """The examples of one step by group.

    Args:
        rng: Makes them.
        cfg: Which sources there are; every one gives `batch_scale` times its rows.
        scales: Of a group, in place of `batch_scale`.
    """
    groups: dict[str, list[Example]] = {}
    for source in sources(cfg.names):
        scale = (scales or {}).get(source.group, cfg.batch_scale)
        rows = max(1, round(source.rows * scale)) if source.rows else 0
        made = [source.make(rng) for _ in range(rows)]
        groups.setdefault(source.group, []).extend(made)
    return groups
