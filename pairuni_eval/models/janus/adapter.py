"""The Janus adapter: any transformers Janus folder or hub id, tiny or Pro, as a `Model`.

Capabilities are understanding and drawing; editing only where the checkpoint's pairuni.json says it
was trained for it (the released Janus-Pro weights were not).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path

import torch

from pairuni_eval.devices import pick_device
from pairuni_eval.errors import ModelError, UserError, boundary
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request, Task
from pairuni_eval.models.checkpoint import (
    WRAPPERS,
    Weights,
    check_weights,
    find_folder,
    read_config,
    read_declaration,
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
        device, dtype = _placement(options)
        weights = check_weights(folder)
        policy = _load_policy(folder, weights, device, dtype, compiled=options.compiled)
        if device.type == "cpu" and policy.size() < _SMALL:
            # A small model is bound by the number of calls: a second thread only waits for the
            # first, badly so on a busy machine, and the rounding would follow the core count.
            torch.set_num_threads(1)
        declared = read_declaration(folder)
        identity = ModelIdentity(
            adapter="janus",
            name=folder.resolve().name if Path(checkpoint).is_dir() else checkpoint,
            weights=weights.digest,
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
            replies += self._together(task, list(same))
        return replies

    def _together(self, task: Task, requests: list[Request]) -> list[Reply]:
        """Replies of a batch; a request that failed in it is tried again alone.

        What is not finite in one row reaches others through masked attention, for 0 times infinity
        is NaN.
        """
        with boundary(ModelError):
            replies = self.policy.decode(self.policy.sample(task, requests))
        if len(requests) == 1:
            return replies
        return [
            self._together(task, [request])[0] if reply.error else reply
            for request, reply in zip(requests, replies, strict=True)
        ]


def _placement(options: LoadOptions) -> tuple[torch.device, torch.dtype]:
    """The device and precision: CUDA in bfloat16 where there is one, else the CPU in float32."""
    device = pick_device(options.device)
    default = "bfloat16" if device.type == "cuda" else "float32"
    dtype = getattr(torch, default if options.dtype == "auto" else options.dtype, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
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
    folder: Path, weights: Weights, device: torch.device, dtype: torch.dtype, *, compiled: bool
) -> JanusPolicy:
    from transformers import AutoProcessor, JanusForConditionalGeneration
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        processor = AutoProcessor.from_pretrained(folder)
        janus, found = JanusForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype,
            key_mapping={f"^{re.escape(weights.wrapper)}": ""} if weights.wrapper else None,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as failure:
        raise UserError(f"{folder}: cannot be loaded as Janus: {failure}.") from failure
    if found["missing_keys"]:
        # transformers would fill them with random numbers and go on.
        raise _missing(folder, weights, found["missing_keys"])
    weights.refuse_broken(unread=found["unexpected_keys"])
    if weights.wrapper:
        logging.getLogger(__name__).warning(
            "Note: %s: every weight's name begins with '%s', which a wrapper put there; without it "
            "all of them fit.",
            folder,
            weights.wrapper,
        )
    return JanusPolicy(janus.to(device), processor, compiled=compiled)


def _missing(folder: Path, weights: Weights, missing: Collection[str]) -> UserError:
    """Weights that the checkpoint lacks, or has under names that a wrapper changed."""
    wrapped = {
        prefix: sum(name.startswith(prefix) for name in weights.names) for prefix in WRAPPERS
    }
    prefix = max(WRAPPERS, key=lambda one: wrapped[one])
    told = f"{folder}: {len(missing)} weights are missing, e.g. {min(missing)}."
    if not wrapped[prefix]:
        return UserError(told, hint="Copy the whole checkpoint, every shard of it.")
    return UserError(
        f"{told} {wrapped[prefix]} of the names in it begin with '{prefix}', which a wrapper "
        "(torch.compile, data-parallel training, peft) puts there.",
        hint="Save the model that is inside the wrapper; merge adapters first "
        "(peft: merge_and_unload).",
    )
