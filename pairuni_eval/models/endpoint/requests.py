"""What is sent for an answer, a picture and an edit; docs/endpoint.md is the contract.

The decoding goes along as far as the OpenAI form has fields for it; any other setting of it that
differs from its default goes under its own name. A seed has 31 bits: many servers take no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pairuni_eval.decoding import Decoding
from pairuni_eval.endpoints.connection import Attachment, Post
from pairuni_eval.endpoints.messages import png_of, user_message
from pairuni_eval.models.base import Request
from pairuni_eval.records import Capability

CHAT, GENERATIONS, EDITS = "/chat/completions", "/images/generations", "/images/edits"
_SEED_BITS = 31
_IN_EVERY_CHAT = ("temperature", "top_p", "max_tokens")
# Of a run that asks for both, what is said of pictures concerns no answer.
_OF_PICTURES = (
    *("size", "cfg_scale", "cfg_image_scale", "cfg_interval", "cfg_renorm", "cfg_renorm_min"),
    "timestep_shift",
)


def fields_of(request: Request, capability: Capability) -> dict[str, Any]:
    """The fields of a request beside the model, by their names in the OpenAI form."""
    seed = request.seed % (1 << _SEED_BITS)
    if capability is Capability.UNDERSTAND:
        chat = {name: getattr(request.decoding, name) for name in _IN_EVERY_CHAT}
        further = _set(request.decoding, without=(*_IN_EVERY_CHAT, *_OF_PICTURES))
        return {**chat, "seed": seed, **further}
    picture = {"prompt": request.text, "n": 1, "response_format": "b64_json", "seed": seed}
    if request.decoding.size is not None:
        picture["size"] = "{}x{}".format(*request.decoding.size)
    return {**picture, **_set(request.decoding, without=("size", "max_tokens"))}


def post_of(request: Request, capability: Capability, fields: Mapping[str, Any]) -> Post:
    """What is sent.

    Args:
        request: What is asked.
        capability: For what.
        fields: Of the request, as the endpoint takes them.
    """
    if capability is Capability.UNDERSTAND:
        return Post(CHAT, {"messages": [user_message(request.parts)], **fields})
    if capability is Capability.GENERATE:
        return Post(GENERATIONS, fields)
    images = [png_of(part) for part in request.parts if not isinstance(part, str)]
    name = "image" if len(images) == 1 else "image[]"
    return Post(EDITS, fields, [Attachment(name, data) for data in images])


def _set(decoding: Decoding, *, without: tuple[str, ...]) -> dict[str, Any]:
    """The settings that differ from their defaults, as JSON has them."""
    default, given = msgspec.to_builtins(Decoding()), msgspec.to_builtins(decoding)
    return {
        name: value
        for name, value in given.items()
        if name not in without and value != default[name]
    }
