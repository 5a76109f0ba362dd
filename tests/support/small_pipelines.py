"""Small random pipelines of diffusers' own classes: one that draws, one that edits.

Real networks of a few thousand parameters, with a tokenizer of single letters; what they draw is
noise. Each is saved as `save_pretrained` of its class saves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SIDE = 16  # pixels of a side that it draws
_LATENTS = 4


def _parts(channels: int) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    words = _tokenizer()
    torch.manual_seed(0)
    return {
        "unet": UNet2DConditionModel(
            sample_size=SIDE // 2,
            in_channels=channels,
            out_channels=_LATENTS,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=_LATENTS,
            norm_num_groups=4,
            sample_size=SIDE,
        ),
        "text_encoder": _text_encoder(len(words)),
        "tokenizer": words,
        "scheduler": DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            steps_offset=1,
        ),
    }


def _tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=32
    )


def _text_encoder(vocabulary: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def _checker(*, strict: bool) -> dict[str, Any]:
    """A safety checker that lets everything through, or nothing."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = CLIPConfig(
        vision_config={**sizes, "num_attention_heads": 2, "image_size": 16, "patch_size": 8},
        text_config={**sizes, "num_attention_heads": 2, "vocab_size": 8},
        projection_dim=16,
    )
    checker = StableDiffusionSafetyChecker(config)
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(-2.0 if strict else 2.0)  # cosines end at 1
        checker.special_care_embeds_weights.fill_(2.0)
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    return {"safety_checker": checker, "feature_extractor": pictures}


def drawing(folder: Path, *, checker: str = "") -> Path:
    """A Stable Diffusion of text to image; `checker` is "lenient", "strict" or none."""
    from diffusers import StableDiffusionPipeline

    watch = _checker(strict=checker == "strict") if checker else _UNWATCHED
    StableDiffusionPipeline(
        **_parts(_LATENTS), **watch, requires_safety_checker=bool(checker)
    ).save_pretrained(folder)
    return folder


def editing(folder: Path) -> Path:
    """An InstructPix2Pix: the source's latents beside those that are denoised."""
    from diffusers import StableDiffusionInstructPix2PixPipeline

    StableDiffusionInstructPix2PixPipeline(
        **_parts(2 * _LATENTS), **_UNWATCHED, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


_UNWATCHED: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
