"""The image sampler: VQ codes by classifier-free guidance over a static cache.

Conditional and unconditional rows run in one batch of 2B; every image has the same number of
codes, so no step waits for the host. Guidance 1 runs B rows only.

Legend: B images, N codes per image, V codebook, D hidden size, H x W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.janus.decoder import StaticDecoder
from pairuni_eval.models.janus.prompts import Prompt, embed_distinct, stack, unconditional
from pairuni_eval.models.janus.sampling import guide, logp_of, pick, uniforms, warp
from pairuni_eval.records import Decoding


class Codes(NamedTuple):
    """Sampled codes (B, N) and, if asked for, the log-prob each was sampled with (B, N)."""

    codes_BN: Tensor
    logp_BN: Tensor | None


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
) -> Codes:
    """Sample the codes of one image per row.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        prompt: B rows that end in the begin-of-image token.
        guidance: Which tokens the unconditional rows keep.
        decoding: Temperature, top-k, top-p and CFG scale.
        seeds: One per row.
        record_logp: Also return log-probs of the distribution that was sampled from.
        compiled: Compile the decoding step; see `StaticDecoder`.
    """
    guided = decoding.cfg_scale != 1.0
    steps = code_count(janus)
    start = embed_distinct(janus, prompt)
    if guided:
        bare = unconditional(prompt, keep=guidance.keep, pad=guidance.pad)
        start = stack(start, embed_distinct(janus, bare))
    device = start.x_UPD.device
    uniform_BN = uniforms(seeds, steps, device)
    table_VD = code_embeddings(janus)
    codes_BN = torch.empty(len(seeds), steps, dtype=torch.long, device=device)
    logp_BN = torch.empty(codes_BN.shape, device=device) if record_logp else None
    slots = prompt.mask_NP.shape[1] + steps - 1
    decoder = StaticDecoder(janus.model.language_model, slots=slots, compiled=compiled)
    hidden_BD = decoder.prefill(*start)
    for i in range(steps):
        logits_BV = janus.model.generation_head(hidden_BD)
        if guided:
            logits_BV = guide(logits_BV.float(), decoding.cfg_scale)
        logits_BV = warp(logits_BV, decoding)
        code_B = pick(logits_BV, uniform_BN[:, i], greedy=decoding.temperature == 0.0)
        codes_BN[:, i] = code_B
        if logp_BN is not None:
            logp_BN[:, i] = logp_of(logits_BV, code_B)
        if i + 1 < steps:
            x_BD = table_VD[code_B]
            hidden_BD = decoder.step(torch.cat((x_BD, x_BD)) if guided else x_BD)
    return Codes(codes_BN, logp_BN)


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
def decode_codes(janus: Any, codes_BN: Tensor) -> Tensor:
    """Pixels of the codes: (B, H, W, 3) uint8 on the CPU.

    Row by row, because convolutions round differently at other batch sizes, and an image should
    depend on its codes alone. The rounding is Janus' own: scale to 0..255, clamp, truncate.
    """
    rows = [janus.model.vqmodel.decode(codes_1N)[0] for codes_1N in codes_BN[:, None]]
    pixels_BCHW = torch.stack(rows).float()
    return ((pixels_BCHW + 1) / 2 * 255).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu()
