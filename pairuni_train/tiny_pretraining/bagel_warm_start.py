"""The tiny BAGEL's first weights from those of the tiny Janus, which has its widths and depth.

The language model becomes both experts, the vision tower and what connects it stay what they are,
and a word keeps its rows. Without them questions are not learned in the time that drawing takes:
all tokens of a picture stand at one position, so that where they are comes from tables alone.

New are the norms of queries and keys, whose weights begin at 1.5, and biases, which begin at 0; the
exact gelu of Janus becomes the tanh form.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pairuni_eval.toolkit.networks import GENERATION, MARKS, bagel, janus

_NORM = 1.5
# What begins a text stands where Janus says that somebody speaks, and what ends one where he stops.
_LIKE = dict(zip(MARKS, (":", janus.ASSISTANT, janus.BOI, janus.EOI), strict=True))
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@torch.no_grad()
def warm_start(made: bagel.TinyBagel, tiny: janus.Tiny) -> None:
    """Overwrite the weights of `made` where Janus has some for them.

    Args:
        made: Of the default size.
        tiny: Its teacher.
    """
    theirs = {
        name.removeprefix("model."): tensor for name, tensor in tiny.model.state_dict().items()
    }
    network = made.network
    own = network.state_dict()
    _words(made, tiny, theirs)
    for name, tensor in own.items():
        if "q_norm" in name or "k_norm" in name:
            tensor.fill_(_NORM)
    for name, tensor in _renamed(theirs).items():
        own[name].copy_(tensor)


def _words(made: bagel.TinyBagel, tiny: janus.Tiny, theirs: Mapping[str, Tensor]) -> None:
    known = tiny.processor.tokenizer.get_vocab()
    model = made.network.language_model
    for word, row in made.tokenizer.get_vocab().items():
        like = known.get(_LIKE.get(word, word))
        if like is not None:
            model.model.embed_tokens.weight[row] = theirs["language_model.embed_tokens.weight"][
                like
            ]
            model.lm_head.weight[row] = theirs["lm_head.weight"][like]
    end = made.id_of(MARKS[1])
    model.lm_head.weight[end] = theirs["lm_head.weight"][known[janus.EOS]]


def _renamed(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Janus' tensors under BAGEL's names."""
    found: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        first, _, rest = name.partition(".")
        if first == "language_model" and rest != "embed_tokens.weight":
            found |= {f"language_model.model.{both}": tensor for both in _of_both_experts(rest)}
        elif first == "vision_model":
            found[f"vit_model.vision_model.{_vision_name(rest)}"] = _as_linear(rest, tensor)
        elif first == "aligner":
            found[f"connector.{rest.replace('hidden_layers.0', 'fc2')}"] = tensor
    return found


def _of_both_experts(name: str) -> tuple[str, str]:
    """A name, and with the mark of the generation expert where the official names have it."""
    *before, kind = name.split(".")
    place = -1
    if before[-1].endswith("_proj") and before[-1] not in _ATTENTION:
        place = -2  # of the MLP the whole has the mark
    marked = [*before]
    marked[place] += GENERATION
    return name, ".".join((*marked, kind))


def _vision_name(name: str) -> str:
    return name.replace("projection_layer", "out_proj")


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    """The kernel of the patch embedding as a matrix over row, column and channel."""
    if name == "embeddings.patch_embedding.weight":
        return tensor.permute(0, 2, 3, 1).flatten(1)
    return tensor
