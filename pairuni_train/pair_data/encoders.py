"""Encoders: what an image becomes before two images are compared.

    resnet50   ResNet-50 without its head, 2048 numbers (the paper's choice)
    dinov3     the class token of DINOv3
    pe         Perception Encoder through timm (extra `pe`, for timm brings torchvision)
    tiny       what stands in a picture of the tiny world, counted

An encoder is a plugin of the group `pairuni.encoders`: a class with `load`, `prepare` and `encode`.
Pixels are prepared here with PIL and torch, as each model's published preprocessing says; nothing
needs torchvision. Vectors leave as they come out; `embed` brings them to length one.

Shapes: B images, C channels, H x W pixels, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.models import check_weights, find_folder, read_config
from pairuni_train.pair_data.config import EncoderSpec

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FloatArray = npt.NDArray[np.float32]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CROP = 0.875  # share of the shorter side that ResNet-50 looks at


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which encoder made a feature, exactly.

    Attributes:
        name: Of the plugin.
        weights: SHA-256 over the weight files; a version for encoders without weights.
        preprocessing: What happens to the pixels, in a few words.
        checkpoint: What was asked for, for people.
    """

    name: str
    weights: str
    preprocessing: str
    checkpoint: str = ""

    @property
    def key(self) -> list[str]:
        """What moves the features; where the weights lay does not."""
        return [self.name, self.weights, self.preprocessing]


class Encoder(ABC):
    """Base class of every encoder.

    Attributes:
        extra: The extra of pairuni that it needs.
    """

    extra: ClassVar[str | None] = None
    identity: Identity

    @classmethod
    @abstractmethod
    def load(cls, spec: EncoderSpec) -> Self:
        """Make the encoder.

        Raises:
            UserError: if its weights cannot be had, or belong to another model.
        """

    @abstractmethod
    def prepare(self, image: Image) -> FloatArray:
        """An RGB image as what `encode` takes, (C, H, W); called from several threads."""

    @abstractmethod
    def encode(self, pixels_BCHW: FloatArray) -> FloatArray:
        """Features (B, D), float32, of any length."""


class NetworkEncoder(Encoder):
    """A network whose pooled output is the feature; `size` is the side of the square it sees."""

    def __init__(self, model: Any, identity: Identity, device: str, size: int = 224) -> None:
        self._model, self.identity, self._device, self._size = model, identity, device, size

    def encode(self, pixels_BCHW: FloatArray) -> FloatArray:
        """The pooled output."""
        import torch

        with torch.inference_mode():
            out = self._model(torch.from_numpy(pixels_BCHW).to(self._device))
            pooled: Tensor = out if isinstance(out, torch.Tensor) else out.pooler_output
        features: FloatArray = pooled.flatten(1).float().cpu().numpy()
        return features


class WeightlessEncoder(Encoder):
    """An encoder with nothing to load."""

    @classmethod
    def load(cls, spec: EncoderSpec) -> Self:
        """Needs nothing.

        Raises:
            UserError: if it is given a checkpoint.
        """
        if spec.checkpoint is not None:
            raise UserError(
                f"The encoder '{spec.name}' has no checkpoint: leave encoder.checkpoint out."
            )
        return cls()


class ResNet50(NetworkEncoder):
    """The pooled features. Default weights: microsoft/resnet-50."""

    @classmethod
    def load(cls, spec: EncoderSpec) -> Self:
        """Read the weights."""
        from transformers import ResNetModel

        return cls(*_transformer(spec, ResNetModel, "resnet", "microsoft/resnet-50", _RESNET))

    def prepare(self, image: Image) -> FloatArray:
        """Shorter side to 256, bicubic; the middle 224 x 224; ImageNet's mean and deviation."""
        from PIL.Image import Resampling

        short = int(self._size / _CROP)
        resized = image.resize(_shorter_side(image, short), Resampling.BICUBIC)
        return _normalized(_middle(resized, self._size), _IMAGENET_MEAN, _IMAGENET_STD)


class DINOv3(NetworkEncoder):
    """The class token after the last norm.

    Default weights: facebook/dinov3-vitb16-pretrain-lvd1689m.
    """

    @classmethod
    def load(cls, spec: EncoderSpec) -> Self:
        """Read the weights."""
        from transformers import DINOv3ViTModel

        default = "facebook/dinov3-vitb16-pretrain-lvd1689m"
        return cls(*_transformer(spec, DINOv3ViTModel, "dinov3_vit", default, _DINOV3))

    def prepare(self, image: Image) -> FloatArray:
        """To 224 x 224 whatever the shape, bilinear with antialiasing, on pixels in [0, 1]."""
        import torch
        import torch.nn.functional as F

        pixels_CHW = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
        side = (self._size, self._size)
        resized = F.interpolate(pixels_CHW[None], side, mode="bilinear", antialias=True)[0].numpy()
        return (resized - _column(_IMAGENET_MEAN)) / _column(_IMAGENET_STD)


class PerceptionEncoder(NetworkEncoder):
    """The image embedding of the contrastive model.

    Default weights: timm/vit_pe_core_base_patch16_224.fb.
    """

    extra = "pe"

    @classmethod
    def load(cls, spec: EncoderSpec) -> Self:
        """Read the weights."""
        import timm
        from safetensors.torch import load_file

        device = _device(spec)
        checkpoint = spec.checkpoint or "timm/vit_pe_core_base_patch16_224.fb"
        folder = find_folder(checkpoint)
        config, weights = read_config(folder), check_weights(folder)
        weights.refuse_broken()
        name = str(config.get("architecture", ""))
        if "_pe_" not in name:
            raise _wrong_model("pe", checkpoint, name, "a timm model vit_pe_...")
        model = timm.create_model(name, pretrained=False, num_classes=config["num_classes"])
        model.load_state_dict(
            {key: value for file in weights.files for key, value in load_file(file).items()}
        )
        size = int(config["pretrained_cfg"]["input_size"][1])
        identity = Identity(
            name="pe", weights=weights.digest, preprocessing=_PE, checkpoint=checkpoint
        )
        return cls(model.eval().to(device), identity, device, size)

    def prepare(self, image: Image) -> FloatArray:
        """Shorter side to the model's size, bicubic; the middle square; pixels in [-1, 1]."""
        from PIL.Image import Resampling

        resized = image.resize(_shorter_side(image, self._size), Resampling.BICUBIC)
        return _normalized(_middle(resized, self._size), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class TinyEncoder(WeightlessEncoder):
    """What stands in a picture of the tiny world, counted: its 24 things, 4 shapes and 6 colors.

    Read off the pixels, so any picture has features. Why not the tiny model's vision tower: its
    mean features have a cosine of 0.8 and more for any two scenes, so that a threshold of 0.6
    would let every pair pass. Here it lets about a tenth pass, and what passes shows like things.
    A picture without a thing, an empty or a garbled one, has no features and is like no other.
    """

    identity = Identity(name="tiny", weights="counts/2", preprocessing="scene shown")

    def prepare(self, image: Image) -> FloatArray:
        """The picture as the world reads it, (3, 32, 32)."""
        from pairuni_eval.api.tiny import to_array

        return to_array(image).transpose(2, 0, 1).astype(np.float32)

    def encode(self, pixels_BCHW: FloatArray) -> FloatArray:
        """Counts (B, 34): things, shapes, colors."""
        from pairuni_eval.api.tiny import COLORS, SHAPES, states_shown

        states_BN = states_shown(pixels_BCHW.astype(np.uint8).transpose(0, 2, 3, 1))
        things_BT = (states_BN[:, :, None] == np.arange(1, 1 + len(SHAPES) * len(COLORS))).sum(1)
        by_kind = things_BT.reshape(-1, len(SHAPES), len(COLORS))
        counts = (things_BT, by_kind.sum(axis=2), by_kind.sum(axis=1))
        return np.concatenate(counts, axis=1).astype(np.float32)


_RESNET = "shorter side 256 bicubic, middle 224, ImageNet mean and deviation"
_DINOV3 = "224 x 224 bilinear antialiased, ImageNet mean and deviation"
_PE = "shorter side bicubic, middle square, mean and deviation 0.5"


def _transformer(
    spec: EncoderSpec, kind: Any, model_type: str, default: str, preprocessing: str
) -> tuple[Any, Identity, str]:
    """A model of transformers, its identity and the device it stands on."""
    device, checkpoint = _device(spec), spec.checkpoint or default
    folder = find_folder(checkpoint)
    found = str(read_config(folder).get("model_type"))
    if found != model_type:
        raise _wrong_model(spec.name, checkpoint, found, model_type)
    weights = check_weights(folder)
    weights.refuse_broken()
    model = kind.from_pretrained(folder, use_safetensors=True).eval().to(device)
    identity = Identity(
        name=spec.name,
        weights=weights.digest,
        preprocessing=preprocessing,
        checkpoint=checkpoint,
    )
    return model, identity, device


def _device(spec: EncoderSpec) -> str:
    """The device that a pair file names, found to be here."""
    from pairuni_eval.toolkit.networks import pick_device

    return str(pick_device(spec.device, setting="encoder.device"))


def _wrong_model(encoder: str, checkpoint: str, found: str, wanted: str) -> UserError:
    return UserError(
        f"The encoder '{encoder}' cannot be read from {checkpoint}: that is a model of the type "
        f"'{found}', not {wanted}.",
        hint="Leave encoder.checkpoint out for the default weights.",
    )


# Pixels


def _shorter_side(image: Image, length: int) -> tuple[int, int]:
    """(width, height) with the shorter side at `length` and the other in proportion."""
    short = min(image.size)
    width, height = (length if side == short else int(length * side / short) for side in image.size)
    return width, height


def _middle(image: Image, size: int) -> Image:
    left, top = ((side - size) // 2 for side in image.size)
    return image.crop((left, top, left + size, top + size))


def _normalized(image: Image, mean: Sequence[float], std: Sequence[float]) -> FloatArray:
    pixels_CHW = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    return (pixels_CHW - _column(mean)) / _column(std)


def _column(values: Sequence[float]) -> FloatArray:
    return np.asarray(values, dtype=np.float32)[:, None, None]


def load_encoder(spec: EncoderSpec) -> Encoder:
    """The encoder that a configuration names.

    Raises:
        UserError: for an unknown name, or weights that cannot be had.
    """
    from pairuni_eval.toolkit.models import load_plugin

    encoder: Encoder = load_plugin("encoders", spec.name).load(spec)
    return encoder
