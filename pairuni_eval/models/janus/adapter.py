"""The Janus adapter: any transformers Janus folder or hub id, tiny or Pro, as a `Model`.

Capabilities are understanding and drawing; editing only where the checkpoint's pairuni.json says it
was trained for it (the released Janus-Pro weights were not).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch

from pairuni_eval.errors import ModelError, UserError, boundary
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request, Task
from pairuni_eval.models.checkpoint import (
    check_weights,
    find_folder,
    read_config,
    read_declaration,
    weights_hash,
)
from pairuni_eval.models.janus.policy import JanusPolicy
from pairuni_eval.records import Capability, ModelIdentity

_SMALL = 50_000_000  # parameters
_NATIVE = (Capability.UNDERSTAND, Capability.GENERATE)


class JanusModel(Model):
    """A loaded Janus checkpoint.

    Args:
        policy: The model with its processor.
        identity: Which weights these are.
        capabilities: What it was trained for.
    """

    def __init__(
        self,
        policy: JanusPolicy,
        identity: ModelIdentity,
        capabilities: frozenset[Capability],
    ) -> None:
        self.policy = policy.eval()
        self.identity = identity
        self.capabilities = capabilities
        self.hardware = _describe(policy)

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> JanusModel:
        """Load from a folder, a hub id or "tiny"; see `Model.load`."""
        folder = find_folder(checkpoint)
        if read_config(folder).get("model_type") != "janus":
            raise UserError(f"{folder}: config.json is not of a Janus model.")
        files = check_weights(folder)
        device, dtype = _placement(options)
        policy = _load_policy(folder, device, dtype, compiled=options.compiled)
        if device.type == "cpu" and policy.size() < _SMALL:
            # A small model is bound by the number of calls: a second thread only waits for the
            # first, badly so on a busy machine, and the rounding would follow the core count.
            torch.set_num_threads(1)
        declared = read_declaration(folder)
        identity = ModelIdentity(
            adapter="janus",
            name=folder.resolve().name if Path(checkpoint).is_dir() else checkpoint,
            weights=weights_hash(files),
            parent=declared.parent,
            step=declared.step,
            recipe=declared.recipe,
            dtype=str(dtype).removeprefix("torch."),
        )
        names = declared.capabilities or _NATIVE
        return cls(policy, identity, frozenset(Capability(name) for name in names))

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer questions; see `Model.answer`."""
        return self._respond("und", requests)

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw one image per prompt; see `Model.draw`."""
        return self._respond("gen", requests)

    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw the changed image; the source enters through the vision tower."""
        return self._respond("gen", requests)

    def _respond(self, task: Task, requests: Sequence[Request]) -> list[Reply]:
        replies: list[Reply] = []
        for _, same in groupby(requests, key=lambda request: request.decoding):
            with boundary(ModelError):
                rollout = self.policy.sample(task, list(same))
                replies += self.policy.decode(rollout)
        return replies


def _placement(options: LoadOptions) -> tuple[torch.device, torch.dtype]:
    """The device and precision: CUDA in bfloat16 where there is one, else the CPU in float32."""
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as failure:
        raise UserError(f"Unknown device '{name}'.", hint="Use cpu, cuda or cuda:1.") from failure
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("No CUDA device is visible to torch.", hint="Use --device cpu.")
    default = "bfloat16" if device.type == "cuda" else "float32"
    dtype = getattr(torch, default if options.dtype == "auto" else options.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UserError(
            f"Unknown precision '{options.dtype}'.", hint="Use float32, bfloat16 or float16."
        )
    return device, dtype


def _describe(policy: JanusPolicy) -> str:
    device = policy.device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type}, {torch.get_num_threads()} threads"
    return f"{name}, compiled" if policy.compiled else name


def _load_policy(
    folder: Path, device: torch.device, dtype: torch.dtype, *, compiled: bool
) -> JanusPolicy:
    from transformers import AutoProcessor, JanusForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        processor = AutoProcessor.from_pretrained(folder)
        janus, found = JanusForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as failure:
        raise UserError(f"{folder}: cannot be loaded as Janus: {failure}.") from failure
    if found["missing_keys"]:
        # transformers would fill them with random numbers and go on.
        first = sorted(found["missing_keys"])[0]
        raise UserError(
            f"{folder}: {len(found['missing_keys'])} weights are missing, e.g. {first}.",
            hint="Copy the whole checkpoint, every shard of it.",
        )
    return JanusPolicy(janus.to(device), processor, compiled=compiled)
