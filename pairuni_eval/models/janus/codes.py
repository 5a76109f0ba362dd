"""The image sampler: VQ codes by classifier-free guidance over a static cache.

Conditional and unconditional rows run in one batch of 2B; every image has the same number of
codes, so no step waits for the host. Guidance 1 runs B rows only.

Legend: B and I images, N codes per image, V codebook, D hidden size, P patches of all images, H x W
pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.finite import mark_of
from pairuni_eval.models.janus.prefix import begin
from pairuni_eval.models.janus.prompts import Prompt, unconditional
from pairuni_eval.models.janus.token_loop import TokenChoice, TokenLoop
from pairuni_eval.models.sampling import uniforms


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
    loop: TokenLoop | None = None,
) -> Codes:
    """Sample the codes of one image per row.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        prompt: B rows that end in the begin-of-image token.
        guidance: Which tokens the unconditional rows keep.
        decoding: Temperature, top-k, top-p and CFG scale.
        seeds: One per row.
        record_logp: Also return log-probs of the distribution that was sampled from.
        loop: The model's own, for what it keeps from batch to batch; None begins with nothing.
    """
    loop, images = loop or TokenLoop(), len(seeds)
    prompt, seeds = loop.batch(prompt, seeds)
    choose = TokenChoice(
        janus.model.generation_head,
        decoding.temperature,
        decoding.top_k,
        decoding.top_p,
        decoding.cfg_scale,
        record_logp,
    )
    prompts = [prompt]
    if choose.guided:
        prompts.append(unconditional(prompt, keep=guidance.keep, pad=guidance.pad))
    uniform_BN = uniforms(seeds, code_count(janus), prompt.ids_NP.device)
    drawn = list(
        loop.run(
            janus.model.language_model,
            begin(janus, prompts),
            uniform_BN.T,
            choose,
            code_embeddings(janus),
        )
    )
    logps = [one.logp_B[:images] for one in drawn if one.logp_B is not None]
    codes_BN = torch.stack([one.token_B[:images] for one in drawn], dim=1)
    finite_B = torch.stack([one.mark_B[:images] for one in drawn]).isfinite().all(0)
    return Codes(codes_BN, torch.stack(logps, dim=1) if logps else None, finite_B)


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
