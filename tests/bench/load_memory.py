"""Peak memory of loading a Janus and answering one question: `python tests/bench/load_memory.py`.

Random weights in DeepSeek's original format, in bfloat16 and two shards, of half a billion and of
two billion parameters (the shape of Janus-Pro-1B). Each is loaded in a process of its own, started
by one that holds nothing; the bound is 1.15 times the weight files and half a gigabyte. `--bin`
writes pytorch_model.bin in place of safetensors, `--formats` loads what `convert` makes of it as
well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from support.child_usage import run_measured

SHARE, FIXED = 1.15, 0.5e9


class Size(NamedTuple):
    """Widths and depths of a model."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    vision_layers: int


SIZES = {
    "0.5b": Size(1024, 12, 16, 2816, 65_536, 12),
    "2b": Size(2048, 24, 16, 5632, 102_400, 24),
}


def write(folder: Path, size: Size, *, pickled: bool) -> int:
    """Write random weights, a shard at a time; returns how many parameters there are."""
    from safetensors.torch import save_file
    from transformers import (
        JanusConfig,
        JanusForConditionalGeneration,
        JanusVisionConfig,
        JanusVQVAEConfig,
        LlamaConfig,
    )

    from pairuni_eval.models.janus.original_config import original_table
    from pairuni_eval.models.janus.original_names import to_original
    from pairuni_eval.tiny.janus import build_processor

    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=size.feed_forward,
            max_position_embeddings=16_384,
        ),
        vision_config=JanusVisionConfig(
            num_hidden_layers=size.vision_layers, projection_dim=size.hidden
        ),
        vq_config=JanusVQVAEConfig(projection_dim=size.hidden, image_token_embed_dim=size.hidden),
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        shapes = to_original(JanusForConditionalGeneration(config).state_dict())
    build_processor().tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(original_table(config, "bfloat16")))
    (folder / "processor_config.json").write_text(json.dumps({"pad_tag": "<|pad|>"}))
    names = list(shapes)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    places = {}
    block = (0.02 * torch.randn(1 << 22)).bfloat16()  # drawn once: drawing costs minutes
    for number, half in enumerate(halves, 1):
        file = f"{stem}-{number:05}-of-00002.{suffix}"
        tensors = {name: _random(shapes[name].shape, block) for name in half}
        if pickled:
            torch.save(tensors, folder / file)
        else:
            save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(half, file)
    index = folder / f"{stem}{'.bin' if pickled else '.safetensors'}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return sum(shape.numel() for shape in shapes.values())


def _random(shape: torch.Size, block: torch.Tensor) -> torch.Tensor:
    """A tensor of that shape, filled with a block of random numbers over and over."""
    count = shape.numel()
    return block.repeat(-(-count // len(block)))[:count].view(shape).clone()


def answer(folder: str) -> None:
    """Load, answer one question about a picture, and print what it took in its own words."""
    from PIL import Image

    from pairuni_eval.adapters import expected_memory, load_model
    from pairuni_eval.decoding import Decoding
    from pairuni_eval.models.base import LoadOptions, Request

    told = expected_memory(folder, None, LoadOptions("cpu"))
    model = load_model(folder, None, LoadOptions("cpu"))
    asked = Request((Image.new("RGB", (640, 426)), "how many"), Decoding(max_tokens=4), 0, "q")
    (reply,) = model.answer([asked])
    print(json.dumps({"told": told, "tokens": reply.tokens, "error": reply.error}))


def measure(folder: Path, name: str) -> bool:
    """Load a folder in a process of its own and print what it took; whether that is in bounds."""
    files = sum(p.stat().st_size for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))
    done = run_measured([sys.executable, __file__, "--answer", str(folder)])
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    bound = SHARE * files + FIXED
    print(
        f"{name:24} files {files / 1e9:.2f} GB  told {found['told'][0] / 1e9:.2f} GB in "
        f"{found['told'][1]}  peak {done.peak / 1e9:.2f} GB  bound {bound / 1e9:.2f} GB  "
        f"answer of {found['tokens']} tokens, error {found['error']}",
        flush=True,
    )
    return done.peak <= bound and found["error"] is None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--bin", action="store_true")
    parser.add_argument("--formats", action="store_true")
    parser.add_argument("--answer")
    given = parser.parse_args()
    if given.answer:
        answer(given.answer)
        return
    good = True
    for name in given.sizes:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "janus"
            folder.mkdir()
            count = write(folder, SIZES[name], pickled=given.bin)
            good &= measure(folder, f"{name} ({count / 1e9:.2f} B)")
            if given.formats:
                command = ["pairuni-eval", "convert", str(folder), str(folder.parent / "other")]
                subprocess.run(command, check=True, env=os.environ, stdout=subprocess.DEVNULL)
                good &= measure(folder.parent / "other", f"{name}, transformers")
    sys.exit(not good)


if __name__ == "__main__":
    main()
