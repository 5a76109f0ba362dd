"""What a device holds in a training step, from sizes alone: before a weight is read.

States are exact: weights, gradients, AdamW's two averages, a reference, the gradients that the
probe holds apart. What a pass needs is an estimate of what torch's eager mode keeps for the
backward pass of a Llama layer; a step's two halves, sampling and updating, are not in memory
together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from pairuni_eval.toolkit.models import Outline, Task, Weight
from pairuni_train.config import Recipe
from pairuni_train.grpo.config import LoraSpec

_WIDE, _HALF = 4, 2  # bytes of a number
_CHUNK = 2**27  # logits that scoring holds at once
# Numbers that a layer keeps of a token for its backward pass, in hidden sizes and feed-forward
# sizes: inputs and outputs of both norms, queries, keys and values before and after their rotation,
# what attention gives; gate, its activation, the other branch and their product.
_OF_HIDDEN, _OF_FEED_FORWARD = 14, 4
# Beside weights that do not train a product keeps no input but that of adapters.
_OF_HIDDEN_FROZEN, _OF_FEED_FORWARD_FROZEN = 8, 3
_COPIES_OF_LOGITS = 4  # logits, over the temperature, their log-softmax, and its gradient


class Lengths(NamedTuple):
    """Tokens of the longest texts that are asked, without what a picture takes."""

    question: int
    prompt: int


class MemoryPlan(NamedTuple):
    """Bytes on one device.

    Attributes:
        states: What is there all the time, by name.
        rollouts: What sampling needs beside them.
        update: What scoring and the backward pass need beside them.
        probe: What the probe holds beside these, in the steps in which it looks.
    """

    states: Mapping[str, int]
    rollouts: int
    update: int
    probe: int

    @property
    def peak(self) -> int:
        """The largest sum."""
        return sum(self.states.values()) + max(self.rollouts, self.update + self.probe)


def plan_memory(
    outline: Outline, recipe: Recipe, ranks: int, lengths: Lengths, *, apart: bool = False
) -> MemoryPlan:
    """What a step takes on each of some ranks.

    Args:
        outline: The model.
        recipe: How it is trained.
        ranks: Over how many processes.
        lengths: Of the texts.
        apart: Whether an arm holds the tasks' gradients apart in every step (PCGrad).
    """
    sharded = ranks if recipe.parallelism.sharding == "fsdp2" else 1
    trains = _trains(outline, recipe)
    whole = sum(_bytes_of(outline.weights, recipe, lambda name: _frozen(name, recipe)))
    states = {
        "weights": (whole + (_WIDE * trains if recipe.lora else 0)) // sharded,
        "gradients": _WIDE * trains // sharded,
        "AdamW": 2 * _WIDE * trains // sharded,
    }
    if recipe.objective.beta > 0 and recipe.lora is None:
        states["reference"] = sum(_bytes_of(outline.weights, recipe, lambda _: True)) // sharded
    if recipe.parallelism.compiled:
        states["kept for rollouts"] = _kept(outline, recipe, ranks, lengths)
    probe = recipe.probe
    copies = (3 if probe.halves else 1) if probe.every else int(apart)
    return MemoryPlan(
        states,
        _rollouts(outline, recipe, ranks, lengths),
        _update(outline, recipe, ranks, lengths),
        copies * _WIDE * trains // sharded,
    )


def ways_to_fit(recipe: Recipe, ranks: int) -> Iterator[tuple[str, Recipe]]:
    """Settings that take less, each on top of those before, the ones that cost least first."""
    words: list[str] = []
    for word, changes in _STEPS_DOWN:
        changed = changes(recipe, ranks)
        if changed is not None and changed != recipe:
            recipe = changed
            words.append(word)
            yield " ".join(f"--set {one}" for one in words), recipe


def _probe_without_halves(recipe: Recipe, _: int) -> Recipe | None:
    if not recipe.probe.every:
        return None
    return msgspec.structs.replace(
        recipe, probe=msgspec.structs.replace(recipe.probe, halves=False)
    )


def _no_probe(recipe: Recipe, _: int) -> Recipe:
    return msgspec.structs.replace(recipe, probe=msgspec.structs.replace(recipe.probe, every=0))


def _parallel(recipe: Recipe, **changes: object) -> Recipe:
    changed = msgspec.structs.replace(recipe.parallelism, **changes)
    return msgspec.structs.replace(recipe, parallelism=changed)


def _checkpointed(recipe: Recipe, _: int) -> Recipe:
    return _parallel(recipe, gradient_checkpointing=True)


def _plain(recipe: Recipe, _: int) -> Recipe:
    return _parallel(recipe, compiled=False)


def _halved(recipe: Recipe, _: int) -> Recipe | None:
    return _parallel(recipe, frozen_as="bfloat16") if recipe.parallelism.bfloat16 else None


def _sharded(recipe: Recipe, ranks: int) -> Recipe | None:
    return _parallel(recipe, sharding="fsdp2") if ranks > 1 and recipe.lora is None else None


def _one_row(recipe: Recipe, _: int) -> Recipe:
    return msgspec.structs.replace(
        recipe, batch=msgspec.structs.replace(recipe.batch, micro_batch=1)
    )


def _adapters(recipe: Recipe, _: int) -> Recipe:
    return msgspec.structs.replace(_parallel(recipe, sharding="none"), lora=LoraSpec(rank=16))


_STEPS_DOWN = (
    ("gradient_checkpointing=true", _checkpointed),
    ("probe.halves=false", _probe_without_halves),
    ("compiled=false", _plain),
    ("sharding=fsdp2", _sharded),
    ("frozen_as=bfloat16", _halved),
    ("probe.every=0", _no_probe),
    ("micro_batch=1", _one_row),
    ("sharding=none --set lora={rank=16}", _adapters),
)


def _frozen(name: str, recipe: Recipe) -> bool:
    return recipe.lora is not None or not name.startswith(tuple(recipe.trainable))


def _bytes_of(weights: Mapping[str, Weight], recipe: Recipe, frozen: object) -> Iterator[int]:
    halved = recipe.parallelism.frozen_as == "bfloat16"
    for name, one in weights.items():
        small = halved and one.product and callable(frozen) and frozen(name)
        yield one.numbers * (_HALF if small else _WIDE)


def _trains(outline: Outline, recipe: Recipe) -> int:
    """Numbers that train."""
    inside = {
        name: one
        for name, one in outline.weights.items()
        if name.startswith(tuple(recipe.trainable))
    }
    if recipe.lora is None:
        return sum(one.numbers for one in inside.values())
    adapted = [
        one
        for name, one in inside.items()
        if len(one.shape) == 2 and name.split(".")[-2] in recipe.lora.targets
    ]
    return sum(recipe.lora.rank * sum(one.shape) for one in adapted)


def _layers(outline: Outline, *, products: bool) -> int:
    """Numbers of the decoder's layers, in products or in the rest."""
    return sum(
        one.numbers
        for name, one in outline.weights.items()
        if name.startswith(outline.layers) and one.product == products
    )


def _at_hand(outline: Outline, recipe: Recipe) -> int:
    """What sampling holds of the weights once more: gathered, cast or joined."""
    from pairuni_eval.toolkit.networks import JOINED_BELOW

    products, rest = (_layers(outline, products=one) for one in (True, False))
    every = sum(one.numbers for one in outline.weights.values())
    half = recipe.parallelism.bfloat16
    number = _HALF if half else _WIDE
    gathered = 0
    if recipe.parallelism.sharding == "fsdp2":
        gathered = products * number + (every - products) * _WIDE
    elif half and not (recipe.parallelism.frozen_as == "bfloat16" and recipe.lora):
        gathered = products * _HALF
    joined = (products + rest) * number if products + rest < JOINED_BELOW else 0
    if recipe.parallelism.compiled and joined:  # what is kept is cast as it is joined
        gathered = 0
    head = outline.vocabulary * outline.hidden * _HALF if half else 0
    return gathered + joined + head


def _kept(outline: Outline, recipe: Recipe, ranks: int, lengths: Lengths) -> int:
    """What compiled rollouts keep from batch to batch: weights, the cache, the table of codes."""
    from pairuni_eval.toolkit.networks import shared_size

    caches = []
    for task, (before, tokens, _) in _shapes(outline, recipe, lengths).items():
        rows = shared_size(_rows(recipe, task, ranks)) * _branches(recipe, task)
        caches.append(_cache(outline, recipe, rows * shared_size(before + tokens)))
    table = outline.codebook * outline.hidden * _WIDE
    return _at_hand(outline, recipe) + max(caches) + table


def _rows(recipe: Recipe, task: Task, ranks: int) -> int:
    """Rollouts that are sampled together."""
    prompts = math.ceil(recipe.batch.pairs_per_step / ranks)
    return min(recipe.batch.rollout_batch, prompts * recipe.task(task).rollouts)


def _branches(recipe: Recipe, task: Task) -> int:
    """Rows of the network for a rollout: guidance runs it twice."""
    return 2 if task == "gen" and recipe.gen.decoding.cfg_scale != 1.0 else 1


def _cache(outline: Outline, recipe: Recipe, places: int) -> int:
    """Keys and values of some tokens."""
    number = _HALF if recipe.parallelism.bfloat16 else _WIDE
    return places * 2 * outline.key_value * outline.depth * number


def _rollouts(outline: Outline, recipe: Recipe, ranks: int, lengths: Lengths) -> int:
    found, kept = [], recipe.parallelism.compiled
    for task, (before, tokens, words) in _shapes(outline, recipe, lengths).items():
        rows, branches = _rows(recipe, task, ranks), _branches(recipe, task)
        cache = 0 if kept else _cache(outline, recipe, rows * branches * (before + tokens))
        prompts = -(-rows // recipe.task(task).rollouts)
        read = prompts * before * (8 * outline.hidden + 3 * outline.feed_forward)
        # In float32, as probabilities in float64, and their running sum.
        logits = rows * words * (branches * _WIDE + 2 * 8)
        found.append(cache + read * _WIDE + logits)
    return (0 if kept else _at_hand(outline, recipe)) + max(found)


def _update(outline: Outline, recipe: Recipe, ranks: int, lengths: Lengths) -> int:
    half, spread = recipe.parallelism.bfloat16, recipe.parallelism.sharding == "fsdp2"
    products = _layers(outline, products=True)
    every = sum(one.numbers for one in outline.weights.values())
    at_hand = products * _HALF if half else 0  # autocast remembers what it cast
    if spread:  # two layers at a time, and what is in none
        one_layer = products // max(1, outline.depth)
        at_hand = 2 * one_layer * (_HALF if half else _WIDE) + (every - products) * _WIDE
    of_hidden, of_feed_forward = (
        (_OF_HIDDEN_FROZEN, _OF_FEED_FORWARD_FROZEN)
        if recipe.lora
        else (_OF_HIDDEN, _OF_FEED_FORWARD)
    )
    kept = of_hidden * outline.hidden + of_feed_forward * outline.feed_forward
    number = 3 if half else _WIDE  # of what is kept, half is in the smaller precision
    found = []
    for task, (before, tokens, words) in _shapes(outline, recipe, lengths).items():
        spec = recipe.task(task)
        held = math.ceil(recipe.batch.pairs_per_step / ranks) * spec.rollouts
        rows = min(recipe.batch.micro_batch, held)
        places = outline.scored(rows, -(-rows // spec.rollouts), before, tokens)
        layers = outline.depth
        activations = places * kept * layers * number
        if recipe.parallelism.gradient_checkpointing:
            activations = places * (outline.hidden * layers * _WIDE + kept * number)
        logits = min(rows * tokens * words, max(_CHUNK, rows * words)) * _WIDE
        found.append(activations + _COPIES_OF_LOGITS * logits)
    return at_hand + max(found)


def _shapes(outline: Outline, recipe: Recipe, lengths: Lengths) -> dict[Task, tuple[int, int, int]]:
    """For each task the tokens of a prompt and of what follows, and how many words there are."""
    return {
        "und": (
            outline.seen + lengths.question,
            recipe.und.decoding.max_tokens,
            outline.vocabulary,
        ),
        "gen": (lengths.prompt, outline.picture, outline.codebook),
    }
