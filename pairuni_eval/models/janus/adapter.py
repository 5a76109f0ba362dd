"""The Janus adapter: any Janus folder or hub id as a `Model`, tiny or Pro, in either format.

DeepSeek's original format (`model_type` multi_modality) and transformers' give the same outputs,
and where transformers departs from DeepSeek, both give DeepSeek's.

Capabilities are understanding and drawing; editing only where the checkpoint's pairuni.json says it
was trained for it (the released Janus-Pro weights were not).
"""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.models.base import LoadOptions, Memory, Model, Reply, Request, Task
from pairuni_eval.models.batching import in_batches
from pairuni_eval.models.checkpoint import identity_of, locate, read_declaration
from pairuni_eval.models.janus.learner import JanusLearner
from pairuni_eval.models.janus.loading import load_janus
from pairuni_eval.models.janus.outline import outline_of
from pairuni_eval.models.janus.policy import JanusPolicy
from pairuni_eval.models.learner import LessonSettings
from pairuni_eval.models.outline import Outline
from pairuni_eval.models.placement import memory_of
from pairuni_eval.records import Capability, ModelIdentity

_NATIVE = (Capability.UNDERSTAND, Capability.GENERATE)


class JanusModel(Model):
    """A loaded Janus checkpoint.

    Args:
        policy: The model with its processor.
        identity: Which weights these are.
        capabilities: What it was trained for.
        hardware: What it runs on.
    """

    def __init__(
        self,
        policy: JanusPolicy,
        identity: ModelIdentity,
        capabilities: frozenset[Capability],
        hardware: str = "none",
    ) -> None:
        self.policy = policy.eval()
        self.identity = identity
        self.capabilities = capabilities
        self.hardware = hardware

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> JanusModel:
        """Load from a folder, a hub id or "tiny"; see `Model.load`."""
        loaded = load_janus(checkpoint, options)
        declared = read_declaration(loaded.located.folder)
        identity = identity_of(
            "janus",
            checkpoint,
            loaded.located,
            weights=loaded.digest,
            dtype=loaded.placement.precision,
        )
        names = declared.capabilities or _NATIVE
        hardware = loaded.placement.hardware(compiled=options.compiled)
        return cls(loaded.policy, identity, frozenset(map(Capability, names)), hardware)

    @classmethod
    def memory(cls, checkpoint: str, options: LoadOptions) -> Memory:
        """From the sizes of its tensors; see `Model.memory`."""
        places = [one for one in locate(checkpoint) if one is not None]
        return memory_of(places, options)

    @classmethod
    def outline(cls, checkpoint: str) -> Outline | None:
        """From its configuration; see `Model.outline`."""
        return outline_of(checkpoint)

    def settings(self, capability: Capability) -> frozenset[str]:
        """Those of tokens, and of pictures the guidance; see `Model.settings`."""
        last = "max_tokens" if capability is Capability.UNDERSTAND else "cfg_scale"
        return frozenset({"temperature", "top_k", "top_p", last})

    def learner(self, settings: LessonSettings) -> JanusLearner:
        """The same weights, to be taught."""
        return JanusLearner(self.policy, settings)

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
        return in_batches(requests, lambda same: self.policy.decode(self.policy.sample(task, same)))
