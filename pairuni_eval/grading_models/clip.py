"""CLIP: an image tower and a text tower that end in one space, from any published form of it.

Runs on transformers' CLIPModel, whichever way the weights are laid out:

- transformers' layout: `config.json` beside the weights;
- OpenCLIP's layout: `open_clip_config.json` beside the weights, or an architecture the caller knows
  (HPSv2 publishes the weights alone); the names are mapped by `open_clip_keys`.

`open_clip_torch` (3.3.0) is not used: importing any part of it imports torchvision, and the release
that pip brings for it does not load beside a CPU build of torch ("operator torchvision::nms does
not exist"). Its checkpoints are read all the same, and tests compare them with its towers in plain
torch.

Features are of length 1, in float32, and do not depend on an autocast around the call.

Legend: B batch, C channels, S side of the image, T tokens, D size of the common space.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from pairuni_eval.devices import pick_device
from pairuni_eval.errors import UserError
from pairuni_eval.grading_models import clip_text, open_clip_keys
from pairuni_eval.grading_models.exact import exact_inference
from pairuni_eval.grading_models.open_clip_keys import Architecture, Shapes
from pairuni_eval.models.checkpoint import checked_config
from pairuni_eval.models.weight_file import check_shapes, read_weights, weight_files

# Constants that older versions of transformers stored with the weights.
_POSITIONS = frozenset(
    {"text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"}
)
# How the names in the other layout begin, and what to do about it.
_OPEN_CLIP_STRANGER = (
    "vision_model.",
    "The names are those of transformers: give its config.json and no open_clip_config.json.",
)
_TRANSFORMERS_STRANGER = (
    "visual.",
    "The names are those of OpenCLIP: give its open_clip_config.json and no config.json.",
)


class ClipTowers:
    """A loaded CLIP.

    Attributes:
        name: Name of the weight file, or of the first shard.
        device: Where it runs.
        dtype: The precision of its weights; features are float32 whatever it is.
        image_size: Side of the square images it takes, in pixels.
        logit_scale: The factor, not its logarithm, that training put before cosines.
    """

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: clip_text.ClipTokenizer,
        *,
        name: str,
        logit_scale: float,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.name = name
        self.logit_scale = logit_scale
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.image_size: int = model.config.vision_config.image_size

    def memory(self) -> int:
        """Bytes of its weights."""
        return sum(one.numel() * one.element_size() for one in self._model.parameters())

    @classmethod
    def load(
        cls,
        files: Sequence[Path],
        *,
        device: str = "auto",
        dtype: str = "float32",
        text_rule: clip_text.TextRule = clip_text.OPEN_CLIP,
        architecture: Architecture | None = None,
    ) -> ClipTowers:
        """Load from files; a folder stands for the files in it.

        Args:
            files: The weights, their configuration and the tokenizer's merge list (see
                `clip_text.merges_file`); other files are passed over.
            device: A torch device name, or "auto".
            dtype: The precision of the weights: float32, bfloat16 or float16.
            text_rule: How texts are cleaned and cut.
            architecture: What OpenCLIP weights without a configuration are.

        Raises:
            UserError: naming the file, if one is missing or damaged, and the key, if the weights
                are not exactly those of the model.
        """
        paths = _expand(files)
        place, precision = pick_device(device), _precision(dtype)
        layout = _layout(paths, architecture)
        weights = _read(weight_files(paths), layout)
        config = layout.config
        tokenizer = clip_text.load_tokenizer(
            clip_text.merges_file(paths),
            text_rule,
            vocabulary=config.text_config.vocab_size,
            context_length=config.text_config.max_position_embeddings,
        )
        return cls(
            _build(config, weights).to(device=place, dtype=precision),
            tokenizer,
            name=weight_files(paths)[0].name,
            logit_scale=math.exp(float(weights["logit_scale"])),
        )

    def image_features(self, pixels_BCSS: Tensor) -> Tensor:
        """Features of normalized pixels (see `clip_image`), of length 1: (B, D), float32."""
        with self._undisturbed():
            pixels_BCSS = pixels_BCSS.to(self.device, self.dtype)
            features_BD = self._model.get_image_features(pixel_values=pixels_BCSS).pooler_output
            return functional.normalize(features_BD.float(), dim=-1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Features of texts, of length 1: (B, D), float32; too long texts are cut."""
        with self._undisturbed():
            ids_BT = self._tokenizer(texts).to(self.device)
            features_BD = self._model.get_text_features(input_ids=ids_BT).pooler_output
            return functional.normalize(features_BD.float(), dim=-1)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Exact, and without the caller's autocast."""
        with exact_inference(), torch.autocast(self.device.type, enabled=False):
            yield


class _Layout(NamedTuple):
    """How the weights lie in the files.

    Attributes:
        config: The model they are for.
        model: What the model is called in messages.
        expected: The shape of every tensor under the name it has in the files.
        ignored: Names that may be there and are not weights.
        rename: From those names to transformers'.
        stranger: How names in the other layout begin, and the advice for who gives that.
    """

    config: CLIPConfig
    model: str
    expected: Shapes
    ignored: frozenset[str]
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    stranger: tuple[str, str]


def _expand(files: Sequence[Path]) -> list[Path]:
    folders = (sorted(path.iterdir()) if path.is_dir() else [path] for path in files)
    return [path for folder in folders for path in folder]


def _layout(paths: Sequence[Path], architecture: Architecture | None) -> _Layout:
    """Which configuration is among the files decides; both together are ambiguous."""
    named = {path.name: path for path in paths}
    ours, theirs = named.get("config.json"), named.get("open_clip_config.json")
    if ours and theirs:
        raise UserError(
            f"{ours.parent} has both config.json and open_clip_config.json.",
            hint="Give one of them, with the weights that belong to it.",
        )
    if ours:
        return _transformers_layout(ours)
    if theirs:
        architecture = open_clip_keys.read_architecture(theirs)
    if architecture is None:
        have = ", ".join(named) or "nothing"
        raise UserError(
            f"No configuration of CLIP among the files ({have}).",
            hint="Add config.json (transformers) or open_clip_config.json (OpenCLIP).",
        )
    return _open_clip_layout(architecture, theirs)


def _transformers_layout(path: Path) -> _Layout:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as failure:  # no JSON, or no UTF-8
        raise UserError(f"{path}: not JSON: {failure}.") from failure
    kind = table.get("model_type") if isinstance(table, dict) else None
    if kind != "clip":
        raise UserError(f"{path}: model_type is {kind!r}, expected 'clip'.")
    config = _config_of(path, table)
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in CLIPModel(config).state_dict().items()}
    return _Layout(
        config, f"the model of {path.name}", shapes, _POSITIONS, dict, _TRANSFORMERS_STRANGER
    )


def _open_clip_layout(architecture: Architecture, path: Path | None) -> _Layout:
    return _Layout(
        config=_config_of(path, _as_config(architecture)),
        model=f"the model of {path.name}" if path else "the published model",
        expected=open_clip_keys.expected_shapes(architecture),
        ignored=open_clip_keys.NO_WEIGHTS,
        rename=open_clip_keys.to_transformers,
        stranger=_OPEN_CLIP_STRANGER,
    )


def _as_config(architecture: Architecture) -> dict[str, Any]:
    """An OpenCLIP architecture in the words of transformers."""
    vision, text = architecture.vision_cfg, architecture.text_cfg
    shared = {
        "hidden_act": "quick_gelu" if architecture.quick_gelu else "gelu",
        "projection_dim": architecture.embed_dim,
    }
    return {
        "projection_dim": architecture.embed_dim,
        "vision_config": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "hidden_size": vision.width,
            "intermediate_size": int(vision.width * vision.mlp_ratio),
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            **shared,
        },
        "text_config": {
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length,
            "hidden_size": text.width,
            "intermediate_size": text.width * 4,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "bos_token_id": text.vocab_size - 2,
            "eos_token_id": text.vocab_size - 1,
            **shared,
        },
    }


def _config_of(path: Path | None, table: Mapping[str, Any]) -> CLIPConfig:
    """Make the configuration; the end token, where texts are read, is the vocabulary's last.

    (Configurations from before transformers 4.31 name a wrong one.)
    """
    config = checked_config(CLIPConfig, table, path)
    config.text_config.eos_token_id = config.text_config.vocab_size - 1
    return config


def _read(paths: Sequence[Path], layout: _Layout) -> dict[str, Tensor]:
    """The weights of all shards under transformers' names, each found to be as expected."""
    weights = {
        key: tensor
        for path in paths
        for key, tensor in read_weights(path, ignored=layout.ignored).items()
    }
    mark, advice = layout.stranger
    if any(key.startswith(mark) for key in weights):
        raise UserError(f"{paths[0]} is laid out for another library.", hint=advice)
    check_shapes(paths[0], weights, layout.expected, model=layout.model)
    whole = [key for key, tensor in weights.items() if not tensor.is_floating_point()]
    if whole:
        raise UserError(
            f"{paths[0]}: '{whole[0]}' is {weights[whole[0]].dtype}, "
            "expected a floating-point type.",
            hint="Quantized weights cannot be used.",
        )
    return layout.rename(weights)


def _build(config: CLIPConfig, weights: Mapping[str, Tensor]) -> CLIPModel:
    """The model with these weights, without initializing any others first."""
    with torch.device("meta"):
        model = CLIPModel(config)
    model.load_state_dict(dict(weights), assign=True)
    for embeddings in (model.text_model.embeddings, model.vision_model.embeddings):
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[-1])[None]
    return model.eval().requires_grad_(False)


def _precision(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UserError(f"Unknown precision '{name}'.", hint="Use float32, bfloat16 or float16.")
    return found
