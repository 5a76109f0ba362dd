"""The image sampler: VQ codes by classifier-free guidance over a static cache.

Conditional and unconditional rows run in one batch of 2B; every image has the same number of
codes, so no step waits for the host. Guidance 1 runs B rows only.

Legend: B and I images, N codes per image, V codebook, D hidden size, P patches of all images, H x W
pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.finite import mark_of
from pairuni_eval.models.cast_weights import cast_once
from pairuni_eval.models.janus.decoder import KeptLayers, StaticDecoder
from pairuni_eval.models.janus.prefix import begin
from pairuni_eval.models.janus.prompts import Prompt, unconditional
from pairuni_eval.models.sampling import guide, logp_of, pick, uniforms, warp


class Codes(NamedTuple):
    """Sampled codes (B, N) and, if asked for, the log-prob each was sampled with (B, N).

    `finite_B` is True where all logits of an image were finite.
    """

    codes_BN: Tensor
    logp_BN: Tensor | None
    finite_B: Tensor


class Guidance(NamedTuple):
    """What the unconditional rows need: the token ids they keep and the one that fills the rest."""

    keep: tuple[int, ...]
    pad: int


@torch.inference_mode()
def draw_codes(
    janus: Any,
    prompt: Prompt,
    *,
    guidance: Guidance,
    decoding: Decoding,
    seeds: Sequence[int],
    record_logp: bool = False,
    compiled: bool = False,
    kept: KeptLayers | None = None,
) -> Codes:
    """Sample the codes of one image per row.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        prompt: B rows that end in the begin-of-image token.
        guidance: Which tokens the unconditional rows keep.
        decoding: Temperature, top-k, top-p and CFG scale.
        seeds: One per row.
        record_logp: Also return log-probs of the distribution that was sampled from.
        compiled: Run the loop's body through torch.compile (needs a C++ compiler on the CPU): the
            first batch of each shape takes seconds to minutes, the many after are faster.
        kept: The model's own, for compiled loops over many batches; see `StaticDecoder`.
    """
    steps = code_count(janus)
    prompts = [prompt]
    if decoding.cfg_scale != 1.0:
        prompts.append(unconditional(prompt, keep=guidance.keep, pad=guidance.pad))
    uniform_BN = uniforms(seeds, steps, prompt.ids_NP.device)
    # A draw a row, so that every column is a tensor of its own: compiled code wants them alike.
    uniform_NB = uniform_BN.T.contiguous()
    table_VD = code_embeddings(janus)
    slots = prompt.mask_NP.shape[1] + steps - 1
    network, head = janus.model.language_model, janus.model.generation_head
    advance = _compiled_advance() if compiled else _advance
    with cast_once(network, head):
        decoder = StaticDecoder(network, slots=slots, compiled=compiled, kept=kept)
        choose = _Choice(head, *_numbers(decoding), record_logp)
        drawn = [choose(decoder.prefill(begin(janus, prompts)), uniform_NB[0])]
        # The first step finds or makes the code that fits; others are of its shapes and objects.
        for checked, uniform_KB in ((True, uniform_NB[1:2]), (not compiled, uniform_NB[2:])):
            with nullcontext() if checked else _trusting():
                for uniform_B in uniform_KB:
                    drawn.append(advance(decoder, choose, table_VD, drawn[-1].code_B, uniform_B))
    logps = [one.logp_B for one in drawn if one.logp_B is not None]
    codes_BN = torch.stack([one.code_B for one in drawn], dim=1)
    finite_B = torch.stack([one.mark_B for one in drawn]).isfinite().all(0)
    return Codes(codes_BN, torch.stack(logps, dim=1) if logps else None, finite_B)


class _Drawn(NamedTuple):
    code_B: Tensor
    logp_B: Tensor | None
    mark_B: Tensor


@dataclass(frozen=True)
class _Choice:
    """From hidden states to codes, in plain numbers that a compiler can read."""

    head: Any
    temperature: float
    top_k: int
    top_p: float
    cfg_scale: float
    record_logp: bool

    def __call__(self, hidden_CD: Tensor, uniform_B: Tensor) -> _Drawn:
        """The next code of each image; C is 2B under guidance (conditional rows first), else B."""
        logits_BV = self.head(hidden_CD)
        if self.cfg_scale != 1.0:
            logits_BV = guide(logits_BV.float(), self.cfg_scale)
        # Before anything is masked on purpose; what is not finite in either of the guided rows is
        # not finite in their difference.
        mark_B = mark_of(logits_BV)
        logits_BV = warp(logits_BV, self.temperature, self.top_k, self.top_p)
        code_B = pick(logits_BV, uniform_B, greedy=self.temperature == 0.0)
        logp_B = logp_of(logits_BV, code_B) if self.record_logp else None
        return _Drawn(code_B, logp_B, mark_B)


def _numbers(decoding: Decoding) -> tuple[float, int, float, float]:
    return decoding.temperature, decoding.top_k, decoding.top_p, decoding.cfg_scale


def _advance(
    decoder: StaticDecoder, choose: _Choice, table_VD: Tensor, code_B: Tensor, uniform_B: Tensor
) -> _Drawn:
    """One more code for every image."""
    x_BD = table_VD[code_B]
    guided = choose.cfg_scale != 1.0
    return choose(decoder.step(torch.cat((x_BD, x_BD)) if guided else x_BD), uniform_B)


def _trusting() -> Any:
    """Compiled code runs without asking which fits; begins at the call."""
    return torch.compiler.set_stance(skip_guard_eval_unsafe=True)


@cache
def _compiled_advance() -> Callable[..., _Drawn]:
    compiled: Callable[..., _Drawn] = torch.compile(
        _advance, fullgraph=True, dynamic=False, options={"cpp_wrapper": True}
    )
    return compiled


def code_count(janus: Any) -> int:
    """N: codes per image."""
    side = janus.config.vq_config.num_patches
    return int(side * side)


def code_embeddings(janus: Any) -> Tensor:
    """What the language model reads for each code: (V, D). Differentiable.

    One product over the codebook replaces one per step.
    """
    model = janus.model
    table: Tensor = model.generation_aligner(model.generation_embeddings.weight)
    return table


@torch.no_grad()
def encode_pictures(janus: Any, pixels_ICHW: Tensor) -> Tensor:
    """The codes of pictures, as DeepSeek has it: nearest in direction, both sides of length one.

    transformers' own `encode` leaves the lengths as they are, and finds other codes for a fifth to
    two fifths of the patches.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        pixels_ICHW: As the processor makes them.

    Returns:
        Codes (I, N), row by row.
    """
    model = janus.model.vqmodel
    z_ICHW = model.quant_conv(model.encoder(pixels_ICHW))
    z_PD = F.normalize(z_ICHW.permute(0, 2, 3, 1).flatten(0, 2), dim=-1)
    code_VD = F.normalize(model.quantize.embedding.weight, dim=-1)
    apart_PV = z_PD.square().sum(1, keepdim=True) + code_VD.square().sum(1) - 2 * z_PD @ code_VD.T
    return apart_PV.argmin(1).view(len(pixels_ICHW), -1)


class DecodedPictures(NamedTuple):
    """Decoded pictures (B, H, W, 3) in uint8, and which of them were finite (B,); on the CPU."""

    pixels_BHWC: Tensor
    finite_B: Tensor


@torch.no_grad()
def decode_codes(janus: Any, codes_BN: Tensor, *, together: int = 1) -> DecodedPictures:
    """Pictures of the codes. Equal codes are decoded once.

    The rounding is Janus' own: scale to 0..255, clamp, truncate.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        codes_BN: The codes.
        together: Images per call of the decoder. Convolutions round differently at other batch
            sizes: with 1 an image depends on its codes alone; with more it is made faster, and a
            value may differ by 1.
    """
    distinct_UN, which_B = torch.unique(codes_BN, dim=0, return_inverse=True)
    pixels_UCHW = torch.cat(
        [janus.model.vqmodel.decode(codes_CN) for codes_CN in distinct_UN.split(together)]
    )
    which_B = which_B.cpu()
    finite_U = mark_of(pixels_UCHW.flatten(1)).isfinite().cpu()
    return DecodedPictures(eight_bits(pixels_UCHW).cpu()[which_B], finite_U[which_B])


def eight_bits(pixels_BCHW: Tensor) -> Tensor:
    """Decoded pixels from -1..1 as uint8 (B, H, W, C): scaled to 0..255, clamped, truncated."""
    return ((pixels_BCHW.float() + 1) / 2 * 255).clamp(0, 255).byte().permute(0, 2, 3, 1)
