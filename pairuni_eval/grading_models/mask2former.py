"""Mask2Former as an instance detector, used exactly as mmdet uses it.

A picture is scaled to fit 1333 x 800 with its proportions kept, padded at the right and the bottom
to multiples of 32 with gray 128, and normalized; the network gives class logits and mask logits per
query; the mask logits are brought back to the picture's own pixels; the 100 surest pairs of query
and class are its instances. A mask is where its logit is above 0, a score is the class probability
times the mean mask probability inside the mask, a box is the tight box of the mask with its right
and lower border outside.

transformers' own `post_process_instance_segmentation` does none of this: it thresholds at 384 x 384
pixels, drops scores below 0.5, lets later instances overwrite earlier ones and gives no boxes.

Departures: instances come in the order of query and class, where mmdet leaves it to `topk`; and
`least` skips the masks of pairs whose class is too improbable to matter, which changes nothing
above it, for a score is never higher than its class probability.

Source: open-mmlab/mmdetection@0c5159285b4d, `panoptic_fusion_heads/maskformer_fusion_head.py`,
`core/mask/utils.py`, `dense_heads/mask2former_head.py` and the test pipeline of
`mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.py`.

Shapes: B pictures in a batch, Q queries, C classes and "nothing", N instances, U masks that differ,
H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from huggingface_hub import constants
from torch import Tensor
from torch.nn import functional

from pairuni_eval.devices import pick_device
from pairuni_eval.errors import JudgeError, UserError
from pairuni_eval.finite import is_finite
from pairuni_eval.grading_models import openmmlab
from pairuni_eval.grading_models.exact import exact_inference
from pairuni_eval.grading_models.resize import resize_bilinear
from pairuni_eval.models.checkpoint import checked_config, read_config
from pairuni_eval.models.weights import check_weights

if TYPE_CHECKING:
    from PIL import Image
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

LONG_SIDE, SHORT_SIDE = 1333, 800
DIVISOR = 32
PADDING = 128  # gray level
MEAN = (123.675, 116.28, 103.53)  # of ImageNet, RGB in 0..255
STD = (58.395, 57.12, 57.375)
INSTANCES = 100
_BATCH_ON_GPU = 8

Size = tuple[int, int]


class Framing(NamedTuple):
    """The sizes (height, width) of a picture on its way into the network.

    Attributes:
        original: As it came.
        scaled: Scaled to fit, proportions kept.
        padded: The network's input.
    """

    original: Size
    scaled: Size
    padded: Size


class Instances(NamedTuple):
    """What was found in one picture, in the picture's own pixels, on the CPU.

    Attributes:
        labels_N: Class numbers.
        scores_N: float32 in [0, 1].
        boxes_N4: float32: x and y of the first pixels of the mask, x and y behind its last pixels;
            all 0 for an empty mask.
        masks_NHW: bool.
    """

    labels_N: Tensor
    scores_N: Tensor
    boxes_N4: Tensor
    masks_NHW: Tensor


# Before the network


def frame(height: int, width: int) -> Framing:
    """The sizes of a picture of `height` x `width` pixels on its way into the network."""
    scale = min(LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    scaled = (int(height * scale + 0.5), int(width * scale + 0.5))
    padded = tuple(math.ceil(side / DIVISOR) * DIVISOR for side in scaled)
    return Framing((height, width), scaled, (padded[0], padded[1]))


def network_input(picture: Image.Image, device: torch.device) -> Tensor:
    """The network's input pixels_3HW of a picture of any mode, float32, on `device`."""
    levels_HW3 = np.array(picture.convert("RGB"))
    framing = frame(*levels_HW3.shape[:2])
    levels_3HW = torch.from_numpy(levels_HW3).to(device).permute(2, 0, 1).contiguous()
    levels_3HW = resize_bilinear(levels_3HW, framing.scaled)
    below, right = (a - b for a, b in zip(framing.padded, framing.scaled, strict=True))
    levels_3HW = functional.pad(levels_3HW, (0, right, 0, below), value=PADDING)
    mean_311 = torch.tensor(MEAN, device=device).view(3, 1, 1)
    std_311 = torch.tensor(STD, device=device).view(3, 1, 1)
    return (levels_3HW.float() - mean_311) / std_311


# Behind the network


def original_pixels(mask_logits_QHW: Tensor, framing: Framing) -> Tensor:
    """Mask logits of any resolution, brought to the picture's own pixels: Q x original size."""
    height, width = framing.scaled
    padded_1QHW = _bilinear(mask_logits_QHW[None], framing.padded)
    return _bilinear(padded_1QHW[:, :, :height, :width], framing.original)[0]


def _bilinear(x_BQHW: Tensor, size: Size) -> Tensor:
    return functional.interpolate(x_BQHW, size=size, mode="bilinear", align_corners=False)


def find_instances(
    class_logits_QC: Tensor,
    mask_logits_QHW: Tensor,
    framing: Framing,
    *,
    limit: int = INSTANCES,
    least: float = 0.0,
) -> Instances:
    """The surest instances of one picture, in the order of query and class.

    Args:
        class_logits_QC: The last class means "nothing".
        mask_logits_QHW: At any resolution of the padded picture.
        framing: The sizes of the picture.
        limit: Number of pairs of query and class that are looked at.
        least: Leave out pairs whose class probability is below this.

    Raises:
        RuntimeError: from torch, if there are fewer than `limit` pairs.
    """
    probability_QC = class_logits_QC.softmax(dim=-1)[:, :-1]
    classes = probability_QC.shape[1]
    pairs_N = probability_QC.flatten().topk(limit, sorted=False).indices.sort().values
    probability_N = probability_QC.flatten()[pairs_N]
    likely_N = probability_N >= least
    pairs_N, probability_N = pairs_N[likely_N], probability_N[likely_N]
    if not len(pairs_N):
        return _nothing(framing)
    queries_U, place_N = torch.unique(pairs_N // classes, return_inverse=True)
    logits_UHW = original_pixels(mask_logits_QHW[queries_U], framing)
    inside_UHW = logits_UHW > 0
    scores_N = probability_N * _mask_scores(logits_UHW, inside_UHW)[place_N]
    found = (pairs_N % classes, scores_N, tight_boxes(inside_UHW)[place_N], inside_UHW[place_N])
    return Instances(*(part.cpu() for part in found))


def _mask_scores(logits_UHW: Tensor, inside_UHW: Tensor) -> Tensor:
    """Mean probability inside each mask, 0 for an empty one."""
    inside_UHW = inside_UHW.to(logits_UHW.dtype)
    total_U = (logits_UHW.sigmoid() * inside_UHW).flatten(1).sum(dim=1)
    return total_U / (inside_UHW.flatten(1).sum(dim=1) + 1e-6)


def tight_boxes(masks_UHW: Tensor) -> Tensor:
    """The tight boxes_U4 of masks, see `Instances`; all 0 where a mask is empty."""
    left, right = _span(masks_UHW.any(dim=1))
    top, bottom = _span(masks_UHW.any(dim=2))
    boxes_U4 = torch.stack([left, top, right, bottom], dim=1)
    return boxes_U4.float() * masks_UHW.flatten(1).any(dim=1)[:, None]


def _span(filled_UL: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row: the first filled place, and the one behind the last filled place."""
    filled_UL = filled_UL.int()
    return filled_UL.argmax(dim=1), filled_UL.shape[1] - filled_UL.flip(1).argmax(dim=1)


def _nothing(framing: Framing) -> Instances:
    return Instances(
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0),
        torch.zeros(0, 4),
        torch.zeros(0, *framing.original, dtype=torch.bool),
    )


# Both


class Mask2Former:
    """A loaded network that finds instances in pictures.

    Args:
        network: Of transformers, in evaluation mode, float32, on its device.
        batch_size: Pictures of one size that go through it together.
    """

    def __init__(self, network: Mask2FormerForUniversalSegmentation, *, batch_size: int) -> None:
        self._network = network
        self._device: torch.device = network.device
        self._batch_size = batch_size

    @classmethod
    def load(cls, files: Sequence[Path], *, device: str = "auto", classes: int) -> Self:
        """Load from the files of either publisher.

        Args:
            files: OpenMMLab's `.pth`, or `config.json` and safetensors as transformers has them.
            device: A torch device name, or "auto".
            classes: How many classes there must be.

        Raises:
            UserError: naming the file, if one is missing or damaged, and the key, if the weights
                are not exactly those of the network.
        """
        place = pick_device(device)
        network = _load_network(files)
        if network.config.num_labels != classes:
            raise UserError(
                f"{files[0].parent}: a detector of {network.config.num_labels} classes, expected "
                f"{classes}.",
                hint="Give the weights that the card names.",
            )
        batch_size = _BATCH_ON_GPU if place.type == "cuda" else 1
        return cls(network.to(place).eval(), batch_size=batch_size)

    def detect(
        self, pictures: Iterable[Image.Image], *, least: float = 0.0
    ) -> Iterator[tuple[Image.Image, Instances]]:
        """Each picture and what is in it, in order; takes no more than a batch of them ahead.

        Args:
            pictures: Of any mode and size; neighbors of one size share a batch.
            least: See `find_instances`.

        Raises:
            JudgeError: if what the network gives for a batch is not finite: it would find nothing.
        """
        framed = ((picture, frame(picture.height, picture.width)) for picture in pictures)
        for _, alike in groupby(framed, key=lambda pair: pair[1].padded):
            while batch := list(islice(alike, self._batch_size)):
                yield from self._detect_batch(batch, least)

    def _detect_batch(
        self, batch: Sequence[tuple[Image.Image, Framing]], least: float
    ) -> list[tuple[Image.Image, Instances]]:
        with exact_inference():
            inputs = [network_input(picture, self._device) for picture, _ in batch]
            output = self._network(pixel_values=torch.stack(inputs))
            if not (
                is_finite(output.class_queries_logits) and is_finite(output.masks_queries_logits)
            ):
                raise JudgeError("the detector gave no finite numbers")
            logits = zip(output.class_queries_logits, output.masks_queries_logits, strict=True)
            return [
                (picture, find_instances(class_logits_QC, mask_logits_QHW, framing, least=least))
                for (picture, framing), (class_logits_QC, mask_logits_QHW) in zip(
                    batch, logits, strict=True
                )
            ]


def _load_network(files: Sequence[Path]) -> Mask2FormerForUniversalSegmentation:
    """The network in float32 on the CPU, every weight that detection needs found in the files."""
    from transformers import Mask2FormerForUniversalSegmentation

    checkpoint = next((path for path in files if path.suffix == ".pth"), None)
    folder = files[0].parent
    with _quiet_transformers():
        if checkpoint is not None:
            config = openmmlab.swin_small()
            kept = Path(constants.HF_ASSETS_CACHE) / "pairuni" / "mask2former"
            weights = openmmlab.converted(checkpoint, config, kept)
            source: dict[str, Any] = {"state_dict": weights}
        else:
            config = _read_config(folder)
            check_weights(folder)
            source = {"local_files_only": True, "use_safetensors": True}
        network, report = Mask2FormerForUniversalSegmentation.from_pretrained(
            folder if checkpoint is None else None,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # reported, and refused below
            output_loading_info=True,
            **source,
        )
    _check_loaded(checkpoint or folder, network, report)
    return network


def _read_config(folder: Path) -> Mask2FormerConfig:
    from transformers import Mask2FormerConfig

    table = read_config(folder)
    kind = table.get("model_type")
    if kind != "mask2former":
        raise UserError(
            f"{folder / 'config.json'}: model_type is {kind!r}, expected 'mask2former'."
        )
    return checked_config(Mask2FormerConfig, table, folder / "config.json")


def _check_loaded(
    source: Path, network: Mask2FormerForUniversalSegmentation, report: Mapping[str, Any]
) -> None:
    """Refuse weights that are missing, of another shape or not finite; others would be random."""
    missing = sorted(key for key in report["missing_keys"] if not openmmlab.is_idle(key))
    wrong = sorted(key for key, *_ in report["mismatched_keys"])
    for problem, keys in (("is missing", missing), ("has another shape", wrong)):
        if keys:
            more = f" ({len(keys)} keys like that)" if len(keys) > 1 else ""
            raise UserError(
                f"{source}: the weight '{keys[0]}' {problem}{more}.",
                hint="Give the weights and the configuration of one model, as published.",
            )
    for name, weight in network.named_parameters():
        if not is_finite(weight):
            raise UserError(
                f"{source}: '{name}' holds numbers that are not finite.",
                hint="Copy or download it again.",
            )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no report of weights that are known not to matter."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
