"""How a model is asked: the settings that turn its distribution into an output, and their id."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pairuni_eval.config import Count
from pairuni_eval.seeds import stable_hash

# A number that is not finite lies in none of these ranges.
Strength = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
# What every stored decoding id was made of; a field that came later counts where it is set.
_IN_EVERY_ID = ("temperature", "top_k", "top_p", "max_tokens", "cfg_scale")


class Decoding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model turns its distribution into an output.

    A model reads the settings that its family has; None leaves one to the model.

    Attributes:
        temperature: 0 is greedy; > 0 divides the logits.
        top_k: Keep the k most likely tokens; 0 keeps all (transformers' silent 50 does not apply).
        top_p: Keep the smallest set of tokens with this mass; 1 keeps all.
        max_tokens: Longest text answer, in tokens. Images have the model's fixed length.
        cfg_scale: Classifier-free guidance for images: u + w (c - u); 1 is no guidance.
        steps: Steps of a diffusion: of an image, or of an answer that is unmasked.
        answer_tokens: Masked places that an answer is unmasked in.
        block_tokens: How many of them are unmasked before the next are begun.
        cfg_image_scale: Guidance by the image that is edited, as `cfg_scale` is by the text.
        cfg_interval: The part of the time, from 0 (data) to 1 (noise), in which there is guidance.
        cfg_renorm: What the guided prediction is shrunk to the length of the conditional one over:
            nothing, the whole image, each position, or each position after the text's guidance.
        cfg_renorm_min: The least that it is shrunk to, as a factor.
        timestep_shift: How far the steps move towards noise; 1 leaves them evenly spaced.
        thinking: Whether the model writes its thoughts before it answers or draws.
        size: Width and height of an image, in pixels.
        noise: "official-bf16" draws a diffusion's tokens with the authors' own, coarser noise.
        sde_level: Noise that some steps of flow matching draw anew, in training alone.
        sde_window: How many steps do, one after the other.
        cache_ratio: Share of places that a step of a diffusion takes from the one before: faster,
            and not exact.
    """

    temperature: Strength = 0.0
    top_k: Annotated[int, msgspec.Meta(ge=0)] = 0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    max_tokens: Count = 128
    cfg_scale: Strength = 1.0
    steps: Count | None = None
    answer_tokens: Count | None = None
    block_tokens: Count | None = None
    cfg_image_scale: Strength | None = None
    cfg_interval: tuple[Share, Share] | None = None
    cfg_renorm: Literal["none", "global", "channel", "text_channel"] | None = None
    cfg_renorm_min: Share | None = None
    timestep_shift: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    thinking: bool = False
    size: tuple[Count, Count] | None = None
    noise: Literal["exact", "official-bf16"] | None = None
    cache_ratio: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    sde_level: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    sde_window: Annotated[int, msgspec.Meta(ge=1)] | None = None

    @property
    def further(self) -> dict[str, Any]:
        """What is set beside the five settings that every decoding has, by name."""
        default = Decoding()
        found = {name: getattr(self, name) for name in self.__struct_fields__[len(_IN_EVERY_ID) :]}
        return {name: one for name, one in found.items() if one != getattr(default, name)}

    @property
    def id(self) -> str:
        """Hash of the settings; one that nobody sets does not move it."""
        every = {name: getattr(self, name) for name in _IN_EVERY_ID}
        return stable_hash("decoding/1", every | msgspec.to_builtins(self.further))
