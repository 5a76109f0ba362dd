"""The adapter `transformers`: any `AutoModelForImageTextToText` folder or hub id as a `Model`.

It answers questions; it neither draws nor edits. The decoding of the benchmark is all that decides
how: temperature, top-k, top-p, repetition penalty and the like of generation_config.json are not
taken, only where an answer ends. Templates that can switch thoughts on are told
`decoding.thinking`.

Questions with as many pictures go together. A reply depends on neither its neighbors nor the size
of the batch, but for the rounding that another shape of the same sum can bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pairuni_eval.finite import no_finite
from pairuni_eval.models.base import LoadOptions, Memory, Model, Reply, Request
from pairuni_eval.models.batching import alike, in_batches
from pairuni_eval.models.checkpoint import identity_of, locate
from pairuni_eval.models.placement import memory_of
from pairuni_eval.models.vlm.chat import Chat
from pairuni_eval.models.vlm.loading import load_vlm
from pairuni_eval.models.vlm.token_choice import TokenChoice
from pairuni_eval.records import Capability, ModelIdentity

_SETTINGS = frozenset({"temperature", "top_k", "top_p", "max_tokens", "thinking"})


class TransformersModel(Model):
    """A loaded model that answers questions about images.

    Args:
        network: Of transformers, on its device.
        chat: What makes its inputs of questions.
        identity: Which weights these are.
        hardware: What it runs on.
    """

    packages: tuple[str, ...] = ("torchvision",)  # scales pictures where it is installed

    def __init__(
        self, network: Any, chat: Chat, identity: ModelIdentity, hardware: str = "none"
    ) -> None:
        self._network = network
        self._chat = chat
        self.identity = identity
        self.capabilities = frozenset({Capability.UNDERSTAND})
        self.hardware = hardware

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> TransformersModel:
        """Load from a folder or a hub id; see `Model.load`."""
        loaded = load_vlm(checkpoint, options)
        identity = identity_of(
            "transformers",
            checkpoint,
            loaded.located,
            weights=loaded.digest,
            dtype=loaded.placement.precision,
        )
        model = cls(loaded.network, loaded.chat, identity, loaded.placement.hardware())
        model.ran_remote_code = loaded.ran_code
        return model

    @classmethod
    def memory(cls, checkpoint: str, options: LoadOptions) -> Memory:
        """From the sizes of its tensors; see `Model.memory`."""
        return memory_of([one for one in locate(checkpoint) if one is not None], options)

    def settings(self, capability: Capability) -> frozenset[str]:
        """Those of text; see `Model.settings`."""
        return _SETTINGS if capability is Capability.UNDERSTAND else frozenset()

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer questions; see `Model.answer`."""
        return in_batches(requests, lambda same: alike(same, self._chat.kind, self._together))

    def _together(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies to requests of one kind and one decoding."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        decoding = requests[0].decoding
        own = self._network.generation_config
        ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        choice = TokenChoice(
            decoding,
            [request.seed for request in requests],
            ends=[end for end in ends if end is not None],
            filler=own.pad_token_id or 0,
            device=self._network.device,
        )
        inputs = self._chat.inputs(requests).to(self._network.device, self._network.dtype)
        with torch.inference_mode():
            self._network.generate(
                **inputs,
                generation_config=GenerationConfig(
                    max_new_tokens=decoding.max_tokens, do_sample=False, use_cache=True
                ),
                logits_processor=LogitsProcessorList([choice]),
            )
        none = Reply(error=no_finite("logits", self._network.dtype))
        return [
            Reply(text=self._chat.text(tokens), tokens=len(tokens)) if finite else none
            for tokens, finite in zip(choice.said(), choice.finite_B.tolist(), strict=True)
        ]
