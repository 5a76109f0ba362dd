"""How fast a loop over tokens could be: what it has to read, over what a device can copy.

A step reads each weight of the decoder and of the head once, and of every row the keys and values
of all tokens before. The rate is that of the device's own copies, read and written bytes both
counted. What else a step does is not in the bound, nor is the pass over the prompts.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn

_COPIED = {"cuda": 2**31, "cpu": 2**27}  # bytes, more than a cache of the processor holds


def wait(device: torch.device) -> None:
    """Until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def copy_rate(device: torch.device, rounds: int = 9) -> float:
    """Bytes read and written in a second by copies within a device's memory: the median."""
    there = torch.zeros(_COPIED[device.type], dtype=torch.uint8, device=device)
    here = torch.empty_like(there)
    found = []
    for number in range(rounds + 2):
        wait(device)
        began = time.perf_counter()
        here.copy_(there)
        wait(device)
        if number >= 2:  # the first ones wake the device up
            found.append(2 * len(there) / (time.perf_counter() - began))
    return statistics.median(found)


def loop_bytes(model: Any, head: nn.Module, *, rows: int, prompt: int, tokens: int) -> int:
    """What it takes to read for some tokens of some rows of the network, one after the other.

    Args:
        model: transformers' Janus.
        head: From hidden states to logits.
        rows: Those of the network: under guidance two for a picture.
        prompt: Tokens that are there before.
        tokens: Tokens that follow.
    """
    llama = model.model.language_model
    weights = sum(size_of(part) for part in (llama.layers, llama.norm, head))
    config = llama.config
    keys = config.num_key_value_heads * llama.layers[0].self_attn.head_dim
    of_token = 2 * config.num_hidden_layers * keys * model.dtype.itemsize
    before = sum(prompt + place for place in range(1, tokens))
    return weights * tokens + rows * of_token * before


def size_of(part: nn.Module) -> int:
    """Bytes of the weights of a module."""
    return sum(one.numel() * one.element_size() for one in part.parameters())
