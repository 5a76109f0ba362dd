"""Trains the tiny model from nothing: first its VQ, then the language model and vision tower.

In goes a `PretrainConfig`, out comes a transformers folder. The lessons are the prompt forms of
the benchmarks (`pairuni_eval.prompts`) on scenes that are not held out, and two dense companions:
reading the colors or shapes of all 16 cells off a picture, and drawing from such a list. Each
lesson has its own share of the loss, so that a long answer does not drown a letter. Matrices are
updated by Muon, everything else by AdamW. The same config gives the same weights on one machine.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration, JanusProcessor
from transformers.models.janus.modeling_janus import JanusVQVAE

from pairuni_eval import prompts as forms
from pairuni_eval.tiny import edits, janus, prompts, questions, world
from pairuni_eval.tiny.world import IntArray

# Shapes: B rows, T tokens, N = 16 cells, S = 25 cell states, D code width, K codebook rows.

RECIPE = "pairuni-tiny-1"


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome; a small `steps` makes a smoke test."""

    seed: int = 0
    steps: int = 3000
    matrix_lr: float = 4e-3
    other_lr: float = 4e-3
    weight_decay: float = 0.02
    warmup: float = 0.04
    prompt_dropout: float = 0.1
    unknown_words: float = 0.01
    vq_steps: int = 400
    vq_batch: int = 16
    vq_matrix_lr: float = 1.5e-2
    vq_lr: float = 1e-2
    batch_scale: float = 1.0
    save_every: int = 250
    threads: int = 2
    size: janus.TinySize = field(default_factory=janus.TinySize)


# Lessons

# The share of each lesson in the loss of a step.
WEIGHTS: dict[str, float] = {
    "mmmu": 1.2,
    "mmstar": 1.2,
    "open": 3.0,
    "mme": 2.5,
    "pope": 1.5,
    "locate": 0.8,
    "read_grid": 0.2,
    "single_object": 0.05,
    "two_object": 0.15,
    "counting": 0.15,
    "colors": 0.15,
    "position": 0.2,
    "color_attr": 0.25,
    "knowledge": 0.3,
    "draw_grid": 0.15,
    "add": 0.3,
    "remove": 0.3,
    "replace": 0.35,
    "adjust": 0.3,
}
_ORDER = {name: place for place, name in enumerate(WEIGHTS)}


class Turn(NamedTuple):
    """What the user says and, unless the row ends in a drawing, the answer."""

    lesson: str
    text: str
    answer: str | None = None


class Example(NamedTuple):
    """One training row: the picture it shows, a talk about it, and perhaps a drawing to make."""

    turns: tuple[Turn, ...]
    picture: world.Scene | None = None
    drawing: world.Scene | None = None


class Source(NamedTuple):
    """How many rows of every step a maker gives; rows of a group go through the model together."""

    group: str
    rows: int
    make: Callable[[random.Random], Example]


def sources() -> tuple[Source, ...]:
    """All makers of training rows.

    Questions come as talks of several turns on one picture, for that gives three times as many
    answers per second as one picture per question.
    """
    return (
        Source("choice", 9, _choice_talk),
        Source("short", 14, _short_talk),
        Source("dense", 4, _locate),
        Source("dense", 1, _read_grid),
        Source("draw", 1, _draw("single_object")),
        Source("draw", 1, _draw("two_object")),
        Source("draw", 1, _draw("counting")),
        Source("draw", 1, _draw("colors")),
        Source("draw", 2, _draw("position")),
        Source("draw", 2, _draw("color_attr")),
        Source("draw", 3, _knowledge),
        Source("draw", 1, _draw_grid),
        Source("edit", 2, _edit("add")),
        Source("edit", 2, _edit("remove")),
        Source("edit", 3, _edit("replace")),
        Source("edit", 2, _edit("adjust")),
    )


def _choice_talk(rng: random.Random) -> Example:
    scene = world.random_scene(rng, held=False)
    makers = rng.choices((_mmmu, _mmstar), k=4)
    return Example(_shortened(rng, [make(rng, scene) for make in makers]), scene)


def _short_talk(rng: random.Random) -> Example:
    scene = world.random_scene(rng, held=False)
    makers = rng.choices((_open, _mme, _pope), weights=(5, 3, 2), k=8)
    return Example(_shortened(rng, [make(rng, scene) for make in makers]), scene)


def _shortened(rng: random.Random, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Leave the instruction out of most turns after the first, as a person would."""
    return (
        turns[0],
        *(t._replace(text=_bare(t.text)) if rng.random() < 0.7 else t for t in turns[1:]),
    )


def _bare(text: str) -> str:
    for instruction in (forms.LETTER_SUFFIX, forms.WORD_SUFFIX, "Please answer yes or no."):
        text = text.removesuffix(instruction)
    return text.rstrip()


def _question(rng: random.Random, scene: world.Scene) -> questions.Choice:
    while True:
        question = questions.ask(rng, scene, rng.choice(questions.KINDS))
        if question is not None:
            return question


def _lettered(rng: random.Random, scene: world.Scene) -> questions.Choice:
    """A question whose letters are about evenly drawn, as far as the scene allows."""
    letter = rng.choice(questions.LETTERS)
    tried = [_question(rng, scene) for _ in range(12)]
    return next((question for question in tried if question.letter == letter), tried[0])


def _mmmu(rng: random.Random, scene: world.Scene) -> Turn:
    question = _lettered(rng, scene)
    letter = question.letter
    text = forms.mmmu_prompt(_maybe_marked(rng, question.text), question.options(letter))
    return Turn("mmmu", text, letter)


def _maybe_marked(rng: random.Random, text: str) -> str:
    # Some harnesses leave MMMU's image marker in the text, others replace it by the image.
    return f"<image 1> {text}" if rng.random() < 0.3 else text


def _mmstar(rng: random.Random, scene: world.Scene) -> Turn:
    question = _lettered(rng, scene)
    letter = question.letter
    return Turn("mmstar", forms.mmstar_prompt(questions.mmstar_text(question, letter)), letter)


def _open(rng: random.Random, scene: world.Scene) -> Turn:
    question = _question(rng, scene)
    if question.kind == "existence":
        return _pope(rng, scene)
    text = forms.mmmu_prompt(_maybe_marked(rng, question.text), ())
    return Turn("open", text, question.answer)


def _mme(rng: random.Random, scene: world.Scene) -> Turn:
    while True:
        kind, truth = rng.choice(questions.STATEMENT_KINDS), rng.random() < 0.5
        said = questions.statement(rng, scene, kind, truth=truth)
        if said is not None:
            return Turn("mme", forms.mme_prompt(questions.mme_text(said)), said.answer)


def _pope(rng: random.Random, scene: world.Scene) -> Turn:
    if rng.random() < 0.5:
        name, answer = rng.choice(scene.things).name, "yes"
    else:
        split = rng.choice(("random", "adversarial"))
        name, answer = questions.absent_names(rng, scene, split, ())[0], "no"
    return Turn("pope", forms.pope_prompt(questions.pope_text(name)), answer)


def _locate(rng: random.Random) -> Example:
    """Every thing in raster order with its row and column: "circle red first second ..."."""
    scene = world.random_scene(rng, held=False)
    words = " ".join(
        f"{t.shape} {t.color} {questions.ORDINALS[t.row]} {questions.ORDINALS[t.col]}"
        for t in scene.things
    )
    return Example((Turn("locate", janus.LOCATE, words),), scene)


def _read_grid(rng: random.Random) -> Example:
    scene, attribute = _full_scene(rng), rng.choice(("color", "shape"))
    words = prompts.grid_words(scene, attribute)
    return Example((Turn("read_grid", janus.READ_GRID.format(attribute), words),), scene)


def _full_scene(rng: random.Random) -> world.Scene:
    return world.random_scene(rng, min_things=6, max_things=16, held=False)


def _draw_grid(rng: random.Random) -> Example:
    scene = _full_scene(rng)
    words = prompts.grid_words(scene, rng.choice(("color", "shape")))
    return Example((Turn("draw_grid", janus.DRAW_GRID.format(words)),), drawing=scene)


@cache
def _rows(tag: str) -> tuple[prompts.Row, ...]:
    return tuple(prompts.geneval_rows(tag))


@cache
def _knowledge_prompts() -> tuple[prompts.KnowledgePrompt, ...]:
    return tuple(prompts.knowledge_prompts())


def _draw(tag: str) -> Callable[[random.Random], Example]:
    def make(rng: random.Random) -> Example:
        row = rng.choice(_rows(tag))
        return Example((Turn(tag, row["prompt"]),), drawing=prompts.sample_scene(rng, row))

    return make


def _knowledge(rng: random.Random) -> Example:
    row, target = rng.choice(_knowledge_prompts())
    drawing = prompts.sample_target_scene(rng, target)
    return Example((Turn("knowledge", row["Prompt"]),), drawing=drawing)


def _edit(edit_type: str) -> Callable[[random.Random], Example]:
    def make(rng: random.Random) -> Example:
        scene, edit = edits.random_edit(rng, edit_type, held=False)
        return Example((Turn(edit_type, edit.prompt),), scene, edits.apply_edit(scene, edit))

    return make


# Batches


class Batch(NamedTuple):
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


class Encoder:
    """Turns examples into batches; the VQ code of a cell is its state (see `train_vq`)."""

    def __init__(self, processor: JanusProcessor, cfg: PretrainConfig):
        """Look up the ids that the layouts need."""
        self._tokenizer = processor.tokenizer
        self._cfg = cfg
        ids = self._tokenizer.convert_tokens_to_ids
        self._image, self._boi, self._eos = ids(janus.IMAGE), ids(janus.BOI), ids(janus.EOS)
        self._pad, self._bos, self._unk = ids(janus.PAD), ids(janus.BOS), ids(janus.UNK)

    def batch(self, examples: Sequence[Example], rng: random.Random) -> Batch:
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
    ) -> Batch:
        draws = examples[0].drawing is not None
        code_BT = (weight_BT > 0) & draws
        codes_BN = ids_BT[code_BT].view(-1, world.CELLS) if draws else None
        ids_BT = ids_BT.masked_fill(code_BT, self._pad)
        # A dropped prompt has lost its placeholders and with them its picture.
        image_BT = ids_BT == self._image
        pictures = [world.states_of(e.picture) for e in examples if e.picture is not None]
        pixels = pixels_of(np.stack(pictures))[image_BT.any(dim=1)] if pictures else None
        return Batch(ids_BT, image_BT, code_BT, weight_BT, lesson_BT, pixels, codes_BN)

    def _pieces(self, example: Example, share: dict[str, float], rng: random.Random) -> list[Piece]:
        pieces = [Piece([self._bos], [0.0], 0)]
        for place, turn in enumerate(example.turns):
            images = int(example.picture is not None and place == 0)
            prompt, lesson = self._prompt(turn.text, images), _ORDER[turn.lesson]
            if example.drawing is not None:
                prompt = self._disturbed([*prompt, self._boi], rng)
            pieces.append(Piece(prompt, [0.0] * len(prompt), lesson))
            pieces.append(self._target(turn, example.drawing, share[turn.lesson]))
        return pieces

    def _target(self, turn: Turn, drawing: world.Scene | None, share: float) -> Piece:
        if drawing is not None:
            codes = world.states_of(drawing).tolist()
            return Piece(codes, [share / len(codes)] * len(codes), _ORDER[turn.lesson])
        words = self._ids(turn.answer or "")
        # That an answer ends is learned at once, so the end is given a tenth of the weight.
        weights = [0.9 * share / len(words)] * len(words) + [0.1 * share]
        return Piece([*words, self._eos], weights, _ORDER[turn.lesson])

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


def step_examples(rng: random.Random, scale: float) -> dict[str, list[Example]]:
    """The examples of one step by group, `scale` times the rows of every source."""
    groups: dict[str, list[Example]] = {}
    for source in sources():
        made = [source.make(rng) for _ in range(max(1, round(source.rows * scale)))]
        groups.setdefault(source.group, []).extend(made)
    return groups


# Loss


def batch_losses(model: JanusForConditionalGeneration, batch: Batch) -> Tensor:
    """The loss of each lesson in a batch, weights included, in the order of `WEIGHTS`."""
    hidden_BTH = _hidden(model, batch)
    # The hidden state before a place predicts what stands there.
    wanted_BT = batch.weight_BT[:, 1:] > 0
    before = hidden_BTH[:, :-1][wanted_BT]
    if batch.codes_BN is not None:
        logits, target = model.model.generation_head(before), batch.codes_BN.reshape(-1)
    else:
        logits, target = model.lm_head(before), batch.ids_BT[:, 1:][wanted_BT]
    loss = F.cross_entropy(logits, target, reduction="none") * batch.weight_BT[:, 1:][wanted_BT]
    return torch.zeros(len(WEIGHTS)).index_add(0, batch.lesson_BT[:, 1:][wanted_BT], loss)


def _hidden(model: JanusForConditionalGeneration, batch: Batch) -> Tensor:
    embeds_BTH = model.get_input_embeddings()(batch.ids_BT)
    if batch.pixels_BCHW is not None and len(batch.pixels_BCHW):
        features = model.model.get_image_features(batch.pixels_BCHW).pooler_output
        embeds_BTH = embeds_BTH.masked_scatter(batch.image_BT[..., None], features)
    if batch.codes_BN is not None:
        drawn = model.prepare_embeddings_for_image_generation(batch.codes_BN)
        embeds_BTH = embeds_BTH.masked_scatter(batch.code_BT[..., None], drawn)
    # Padding is on the right, so the causal mask alone is right and the fast kernel applies.
    hidden: Tensor = model.model.language_model(
        inputs_embeds=embeds_BTH, use_cache=False
    ).last_hidden_state
    return hidden


# Optimisers


class Muon(torch.optim.Optimizer):
    """Muon with match-RMS scaling, all matrices of one shape orthogonalised together.

    The same update as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, but in float32: that
    one iterates in bfloat16, which many CPUs emulate at a tenth of the speed.
    """

    def __init__(
        self, params: Sequence[nn.Parameter], *, lr: float, weight_decay: float, momentum: float
    ):
        """Group `params`, matrices and kernels (taken as matrices, one row a filter), by shape."""
        shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in params:
            shapes.setdefault(tuple(parameter.shape), []).append(parameter)
        groups = [{"params": group} for group in shapes.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            update_XAB = orthogonal(torch.stack([self._nesterov(p, group) for p in parameters]))
            scale = group["lr"] * 0.2 * max(update_XAB.shape[1:]) ** 0.5
            for parameter, update_AB in zip(parameters, update_XAB, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(scale * update_AB.view_as(parameter))

    def _nesterov(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        velocity: Tensor = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update: Tensor = gradient.lerp(velocity, group["momentum"])
        return update.flatten(1)


def orthogonal(matrices_XAB: Tensor) -> Tensor:
    """Near-orthogonal factors of a stack of matrices by five Newton-Schulz steps (Jordan 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices_XAB.shape[1] > matrices_XAB.shape[2]
    x: Tensor = matrices_XAB.mT if tall else matrices_XAB
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Optimizers(NamedTuple):
    """Muon for hidden matrices, AdamW for the rest, each with its peak learning rate."""

    muon: Muon
    adamw: torch.optim.AdamW

    def set_rate(self, matrix_lr: float, other_lr: float, share: float) -> None:
        """Set both learning rates to `share`, in [0, 1], of these peaks."""
        for group in self.muon.param_groups:
            group["lr"] = matrix_lr * share
        for group in self.adamw.param_groups:
            group["lr"] = other_lr * share

    def step(self) -> None:
        """Take one step with both and clear the gradients."""
        for optimizer in self:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def build_optimizers(model: JanusForConditionalGeneration, cfg: PretrainConfig) -> Optimizers:
    """Freeze the VQ and split the other parameters by kind."""
    model.model.vqmodel.requires_grad_(False)
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if _is_matrix(name, parameter) else others).append(parameter)
    muon = Muon(matrices, lr=cfg.matrix_lr, weight_decay=cfg.weight_decay, momentum=0.95)
    adamw = torch.optim.AdamW(others, lr=cfg.other_lr, betas=(0.9, 0.95), weight_decay=0.0)
    return Optimizers(muon, adamw)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    outer = ("embed", "lm_head", "vision_head", "generation_aligner.fc1")
    return parameter.ndim == 2 and not any(part in name for part in outer)


def rate_share(step: int, cfg: PretrainConfig, *, start: int = 0) -> float:
    """Warm-up from step `start`, and a straight line to zero at the last step."""
    warm = max(1, round(cfg.warmup * cfg.steps))
    return min((step - start + 1) / warm, (cfg.steps - step) / max(1, cfg.steps - warm), 1.0)


# The VQ


def train_vq(vq: JanusVQVAE, cfg: PretrainConfig) -> Iterator[tuple[int, float]]:
    """Train the VQ in place; after each step yield its number, from 1, and its loss.

    A cell has 25 states, so the code of a cell shall be its state: the codebook rows are fixed,
    unit vectors far from each other, the encoder learns to hit the row of each cell's state and
    the decoder to draw it. Rows beyond the 25th stay unused. All rows have length one, since
    transformers' `encode` measures them as they are and `decode` normalises them.
    """
    rng = np.random.default_rng(cfg.seed)
    rows_KD = spread_rows(*vq.quantize.embedding.weight.shape, seed=cfg.seed)
    vq.requires_grad_(True)
    vq.quantize.embedding.weight.requires_grad_(False).copy_(rows_KD)
    optimizers = _vq_optimizers(vq, cfg)
    for step in range(cfg.vq_steps):
        left = 1 - step / cfg.vq_steps
        optimizers.set_rate(cfg.vq_matrix_lr, cfg.vq_lr, min(1.0, (step + 1) / 15, 1.5 * left))
        loss = _vq_loss(vq, random_states(rng, cfg.vq_batch), rows_KD)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(vq.parameters(), 1.0)
        optimizers.step()
        yield step + 1, float(loss.detach())
    vq.requires_grad_(False)


def _vq_optimizers(vq: JanusVQVAE, cfg: PretrainConfig) -> Optimizers:
    trained = [p for p in vq.parameters() if p.requires_grad]
    kernels = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    return Optimizers(
        Muon(kernels, lr=cfg.vq_matrix_lr, weight_decay=0.0, momentum=0.9),
        torch.optim.AdamW(others, lr=cfg.vq_lr, betas=(0.9, 0.95), weight_decay=0.0),
    )


def _vq_loss(vq: JanusVQVAE, states_BN: IntArray, rows_KD: Tensor) -> Tensor:
    wanted_BN, pixels = torch.from_numpy(states_BN), pixels_of(states_BN)
    latent_BND = vq.quant_conv(vq.encoder(pixels)).permute(0, 2, 3, 1).flatten(1, 2)
    logits_BNK = 10 * F.normalize(latent_BND, dim=-1) @ rows_KD.T
    naming = F.cross_entropy(logits_BNK.flatten(0, 1), wanted_BN.flatten())
    # Most of a picture is ground. Squared and weighted, the error of the shapes is not drowned;
    # an absolute error would be content with an empty picture for hundreds of steps.
    ground = pixels_of(np.zeros((1, world.CELLS), dtype=np.int64))
    weight = 1 + 4 * ((pixels - ground).abs().amax(dim=1, keepdim=True) > 0.02)
    drawing = (weight * (vq.decode(wanted_BN) - pixels) ** 2).mean()
    loss: Tensor = 0.3 * naming + drawing
    return loss


def spread_rows(rows: int, width: int, *, seed: int) -> Tensor:
    """Unit vectors (rows, width) pushed apart from each other."""
    generator = torch.Generator().manual_seed(seed)
    rows_KD = F.normalize(torch.randn(rows, width, generator=generator), dim=-1)
    for _ in range(300):
        push_KK = torch.softmax(20 * rows_KD @ rows_KD.T - 1e9 * torch.eye(rows), dim=-1)
        rows_KD = F.normalize(rows_KD - 0.05 * push_KK @ rows_KD, dim=-1)
    return rows_KD


def random_states(rng: np.random.Generator, count: int) -> IntArray:
    """Cell states (count, 16) of pictures of zero to eight things."""
    states_BN = rng.integers(1, world.STATES, size=(count, world.CELLS))
    rank_BN = rng.random(states_BN.shape).argsort(axis=1)
    return np.where(rank_BN < rng.integers(0, 9, size=(count, 1)), states_BN, 0)


# The run


def _console_progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
        console=Console(stderr=True),
    )


def _loss_line(losses: Tensor) -> str:
    parts = zip(WEIGHTS.items(), losses.tolist(), strict=True)
    return " ".join(f"{name} {loss / weight:.3f}" for (name, weight), loss in parts)


def pretrain(cfg: PretrainConfig, out_dir: Path, *, resume: Path | None = None) -> janus.Tiny:
    """Train and write the folder `out_dir`; checkpoints lie in `out_dir/step-N`.

    `resume` names a checkpoint to go on from: its weights and its step number. The optimisers
    start afresh there, so a resumed run is not bit-identical to one that was never stopped.

    Returns:
        the trained model and its processor.
    """
    torch.set_num_threads(cfg.threads)
    with _console_progress() as progress:
        if resume is None:
            tiny, start = _with_picture_codes(cfg, progress), 0
        else:
            tiny, start = janus.load(resume), janus.step_of(resume)
        for step in _train_with_bar(tiny, cfg, start, progress):
            if step % cfg.save_every == 0 and step < cfg.steps:
                janus.save(tiny, out_dir / f"step-{step}", recipe=RECIPE, step=step)
    janus.save(tiny, out_dir, recipe=RECIPE, step=cfg.steps)
    return tiny


def _with_picture_codes(cfg: PretrainConfig, progress: Progress) -> janus.Tiny:
    tiny = janus.build(cfg.seed, cfg.size)
    bar = progress.add_task("picture codes", total=cfg.vq_steps, losses="")
    for step, loss in train_vq(tiny.model.model.vqmodel, cfg):
        progress.update(bar, completed=step, losses=f"loss {loss:.4f}")
    return tiny


def _train_with_bar(
    tiny: janus.Tiny, cfg: PretrainConfig, start: int, progress: Progress
) -> Iterator[int]:
    bar = progress.add_task("model", total=cfg.steps, completed=start, losses="")
    started = time.monotonic()
    for step, losses in train_model(tiny, cfg, start=start):
        progress.update(bar, completed=step, losses=_loss_line(losses))
        if step % 50 == 0:
            seconds = time.monotonic() - started
            progress.console.print(f"step {step} after {seconds:.0f} s: {_loss_line(losses)}")
        yield step


def train_model(
    tiny: janus.Tiny, cfg: PretrainConfig, *, start: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Train in place; after each step yield its number, from 1, and the smoothed losses."""
    encoder = Encoder(tiny.processor, cfg)
    optimizers = build_optimizers(tiny.model, cfg)
    tiny.model.train()
    smooth = torch.zeros(len(WEIGHTS))
    for step in range(start, cfg.steps):
        # A generator per step: a resumed run sees the rows that the first one would have seen.
        rng = random.Random(f"{cfg.seed}:{step}")
        share = rate_share(step, cfg, start=start)
        optimizers.set_rate(cfg.matrix_lr, cfg.other_lr, share)
        losses = _train_step(tiny.model, encoder, optimizers, cfg, rng)
        memory = min(0.95, (step - start) / (step - start + 1))
        smooth = memory * smooth + (1 - memory) * losses
        yield step + 1, smooth
    tiny.model.eval()


def _train_step(
    model: JanusForConditionalGeneration,
    encoder: Encoder,
    optimizers: Optimizers,
    cfg: PretrainConfig,
    rng: random.Random,
) -> Tensor:
    total = torch.zeros(len(WEIGHTS))
    for examples in step_examples(rng, cfg.batch_scale).values():
        losses = batch_losses(model, encoder.batch(examples, rng))
        losses.sum().backward()  # type: ignore[no-untyped-call]
        total += losses.detach()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers.step()
    return total


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the tiny model from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--resume", type=Path, help="checkpoint folder to go on from")
    for name in ("seed", "steps", "vq_steps", "save_every", "threads"):
        default = getattr(PretrainConfig(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    for name in ("matrix_lr", "other_lr", "weight_decay", "warmup", "batch_scale"):
        default = getattr(PretrainConfig(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default)
    return parser.parse_args()


def main() -> None:
    """Run `pretrain` with options from the command line."""
    arguments = vars(_arguments())
    out_dir, resume = arguments.pop("out"), arguments.pop("resume")
    pretrain(PretrainConfig(**arguments), out_dir, resume=resume)


if __name__ == "__main__":
    main()
