"""A model that greets everybody but Grace."""

from __future__ import annotations

from collections.abc import Sequence

from pairuni_eval.api import Capability, LoadOptions, Model, ModelIdentity, Reply, Request


class AcmeModel(Model):
    """It understands and neither draws nor edits."""

    capabilities = frozenset({Capability.UNDERSTAND})

    def __init__(self, checkpoint: str) -> None:
        self.identity = ModelIdentity(adapter="acme", name=checkpoint, weights="acme-1")

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> AcmeModel:
        """Take any checkpoint."""
        return cls(checkpoint)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Greet."""
        return [self._greet(request.text.split()[1].strip(".")) for request in requests]

    def _greet(self, name: str) -> Reply:
        return Reply(text="Hi." if name == "Grace" else f"Hello {name}!", tokens=2)
