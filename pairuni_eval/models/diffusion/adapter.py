"""The adapter `diffusers`: a pipeline of text to image or of editing as a `Model`.

Noise comes from a generator of each request, on the CPU, so a picture depends on neither its
neighbors nor the device's generator. Convolutions and matrix products round by the size of their
batch, by one level of a few pixels: on CPUs one picture is drawn at a time, whatever the batch, and
nothing is lost; on a GPU a batch goes together.

Edits go one by one: to most pipelines a list of pictures is several sources of one edit. Those that
take it as a batch (`_BATCHES`) are given sources of one size together.

A picture that the pipeline's safety checker withheld is a refusal, not a black picture. Prompts are
cut where the pipeline cuts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import ModelError
from pairuni_eval.finite import no_finite
from pairuni_eval.models.base import LoadOptions, Memory, Model, Reply, Request
from pairuni_eval.models.batching import alike, in_batches
from pairuni_eval.models.checkpoint import Located, find_folder, identity_of
from pairuni_eval.models.diffusion.call import PipelineCall
from pairuni_eval.models.diffusion.pipeline_folder import read_pipeline_folder
from pairuni_eval.models.diffusion.quiet import quietly
from pairuni_eval.models.placement import place
from pairuni_eval.models.weights import joint_digest, own_precision
from pairuni_eval.records import Capability, ModelIdentity

_BATCHES = (
    *("StableDiffusionInstructPix2PixPipeline", "StableDiffusionImg2ImgPipeline"),
    "StableDiffusionXLImg2ImgPipeline",
)
_WITHHELD = "the pipeline's safety checker withheld the picture"


class DiffusersModel(Model):
    """A loaded pipeline.

    Args:
        pipeline: Of diffusers, on its device.
        identity: Which weights these are.
        hardware: What it runs on.
        together: Pictures that are drawn at once, at most; None for the whole batch.
    """

    extra: ClassVar[str] = "diffusers"
    packages: tuple[str, ...] = ("diffusers",)
    default_batch_sizes: ClassVar[Mapping[Capability, int]] = {
        Capability.UNDERSTAND: 16,
        Capability.GENERATE: 4,
        Capability.EDIT: 4,
    }

    def __init__(
        self,
        pipeline: Any,
        identity: ModelIdentity,
        hardware: str = "none",
        *,
        together: int | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._call = PipelineCall(type(pipeline))
        self._together = together
        self.identity = identity
        self.capabilities = self._call.capabilities
        self.hardware = hardware

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> DiffusersModel:
        """Load from a folder or a hub id; see `Model.load`."""
        folder = find_folder(checkpoint, code=options.remote_code)
        found = read_pipeline_folder(folder, allowed=options.remote_code)
        if found.kind is not None:
            PipelineCall(found.kind)  # says that it does something else before it is loaded
        weights, numbers = found.weights(), found.numbers()
        placement = place(options, own=own_precision(numbers))
        pipeline = found.load(weights, placement.dtype).to(placement.device)
        pipeline.set_progress_bar_config(disable=True)
        placement.settle(sum(numbers.values()))
        identity = identity_of(
            "diffusers",
            checkpoint,
            Located(folder),
            weights=joint_digest([part.digest for part in weights.values()]),
            dtype=placement.precision,
        )
        model = cls(
            pipeline,
            identity,
            placement.hardware(),
            together=1 if placement.device.type == "cpu" else None,
        )
        model.ran_remote_code = found.own_code
        return model

    @classmethod
    def memory(cls, checkpoint: str, options: LoadOptions) -> Memory:
        """From the sizes of the tensors of all parts; see `Model.memory`."""
        folder = find_folder(checkpoint, code=options.remote_code)
        numbers = read_pipeline_folder(folder, allowed=options.remote_code).numbers()
        placed = place(options, own=own_precision(numbers))
        total = sum(numbers.values()) * placed.dtype.itemsize
        return Memory(total, placed.precision, placed.device.type)

    def decoding(self, capability: Capability, benchmark: str, card: Decoding) -> Decoding:  # noqa: ARG002
        """The pipeline's own defaults; see `Model.decoding`."""
        return self._call.decoding(capability) if capability in self.capabilities else card

    def settings(self, capability: Capability) -> frozenset[str]:
        """Those that the pipeline has; see `Model.settings`."""
        return self._call.settings(capability)

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw one picture per prompt; see `Model.draw`."""
        return in_batches(
            requests, lambda same: self._in_turns(Capability.GENERATE, same, self._together)
        )

    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """Change one picture per request; see `Model.edit`."""
        most = self._together if type(self._pipeline).__name__ in _BATCHES else 1
        return in_batches(
            requests,
            lambda same: alike(
                same,
                lambda request: _source(request).size,
                lambda some: self._in_turns(Capability.EDIT, some, most),
            ),
        )

    def _in_turns(
        self, capability: Capability, requests: Sequence[Request], most: int | None
    ) -> list[Reply]:
        step = most or len(requests)
        return [
            reply
            for start in range(0, len(requests), step)
            for reply in self._at_once(capability, requests[start : start + step])
        ]

    def _at_once(self, capability: Capability, requests: Sequence[Request]) -> list[Reply]:
        """Replies to requests of one decoding, and of one size of source if they are edits."""
        import torch

        arguments = self._call.arguments(capability, requests[0].decoding, len(requests))
        if capability is Capability.EDIT:
            sources = [_source(request).convert("RGB") for request in requests]
            arguments["image"] = sources if len(sources) > 1 else sources[0]
        with torch.inference_mode(), quietly():
            made = self._pipeline(
                prompt=[request.text for request in requests],
                generator=[torch.Generator().manual_seed(request.seed) for request in requests],
                output_type="np",
                **arguments,
            )
        return self._replies(made, len(requests))

    def _replies(self, made: Any, count: int) -> list[Reply]:
        import numpy as np
        from PIL import Image

        withheld = getattr(made, "nsfw_content_detected", None) or [False] * count
        replies: list[Reply] = []
        for pixels_HWC, hidden in zip(made.images, withheld, strict=True):
            if hidden:
                replies.append(Reply(refused=_WITHHELD))
            elif not np.isfinite(pixels_HWC).all():
                replies.append(Reply(error=no_finite("pixels", self._pipeline.dtype)))
            else:
                levels_HWC = (pixels_HWC * 255).round().astype(np.uint8)
                replies.append(Reply(image=Image.fromarray(levels_HWC)))
        return replies


def _source(request: Request) -> Any:
    """The picture that is to be changed.

    Raises:
        ModelError: if there is not exactly one.
    """
    pictures = [part for part in request.parts if not isinstance(part, str)]
    if len(pictures) != 1:
        raise ModelError(f"an edit has one source picture, and this has {len(pictures)}")
    return pictures[0]
