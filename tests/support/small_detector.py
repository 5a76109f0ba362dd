"""Small networks of the real architectures, with random weights, as folders of files.

A Mask2Former with a Swin backbone whose class logits are spread far enough for some detections to
pass GenEval's thresholds, and a CLIP with two short towers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

# The first merges of CLIP's list that make "a photo of a ... object" more than single letters.
MERGES = ("p h", "o t", "ph ot", "phot o</w>", "o f</w>", "c o", "r e", "re d</w>", "b l", "bl u")
CLIP_VOCABULARY = 2 * 256 + 2 + len(MERGES)
QUERIES = 8


def detector_config(classes: int = 80, window: int = 4) -> Mask2FormerConfig:
    """Four stages of one block; widths as small as 32 groups of channels allow."""
    return Mask2FormerConfig(
        backbone_config=SwinConfig(
            embed_dim=4,
            depths=[1, 1, 2, 1],
            num_heads=[1, 1, 2, 2],
            window_size=window,
            drop_path_rate=0.0,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=4,
        dim_feedforward=32,
        num_attention_heads=2,
        num_queries=QUERIES,
        num_labels=classes,
    )


def build_detector(seed: int = 0, classes: int = 80) -> Mask2FormerForUniversalSegmentation:
    """A random network; its queries are sure of their classes and of where they are."""
    torch.manual_seed(seed)
    network = Mask2FormerForUniversalSegmentation(detector_config(classes)).eval()
    with torch.no_grad():
        network.class_predictor.weight.normal_(std=1.5)
        network.class_predictor.bias[-1] = -5  # "nothing"
        masks = network.model.transformer_module.decoder.mask_predictor.mask_embedder
        masks.get_submodule("2.0").weight *= 4
    return network


def save_detector(folder: Path, seed: int = 0, classes: int = 80) -> Path:
    """Write a random detector as transformers does: config.json and model.safetensors."""
    build_detector(seed, classes).save_pretrained(folder)
    return folder


def build_clip(seed: int = 0) -> CLIPModel:
    """A random CLIP of two towers of one layer, for pictures of 32 x 32."""
    torch.manual_seed(seed)
    width = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 16,
    }
    ends = {"bos_token_id": CLIP_VOCABULARY - 2, "eos_token_id": CLIP_VOCABULARY - 1}
    config = CLIPConfig(
        projection_dim=16,
        vision_config=width | {"image_size": 32, "patch_size": 8},
        text_config=width | {"vocab_size": CLIP_VOCABULARY} | ends,
    )
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from 0, so that inputs make a difference
            parameter.mul_(10 if parameter.dim() > 1 else 1)
    return model


def write_merges(folder: Path) -> Path:
    """Write the merge list of the small vocabulary."""
    path = folder / "merges.txt"
    path.write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return path


def save_clip(folder: Path, seed: int = 0) -> Path:
    """Write a random CLIP with the files that OpenAI's has: its configuration, weights, merges."""
    build_clip(seed).save_pretrained(folder)
    write_merges(folder)
    return folder


def save_weights(folder: Path, detector: str = "detector") -> Path:
    """Write what GenEval grades with below FOLDER/weights; returns FOLDER, for --data."""
    save_detector(folder / "weights" / detector)
    save_clip(folder / "weights" / "clip")
    return folder
