"""A model of the outputs of a former run: `--checkpoint replay:RUN`.

RUN is a folder, a packed run or a baseline that a suite ships, as wherever a run is named
(`adapters` finds its folder). Outputs are found by id, so the replayed run must ask the same
samples with the same decoding. What the former run lacks is an error on its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pairuni_eval.errors import DatasetError
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.records import Capability, Output
from pairuni_eval.store.read import StoredRun


class ReplayModel(Model):
    """Replies from a run folder."""

    capabilities = frozenset(Capability)

    def __init__(self, run: StoredRun) -> None:
        self._run = run
        self._outputs = {row.id: row for row in run.records("outputs", Output)}
        self.identity = msgspec.structs.replace(run.card.checkpoint, adapter="replay")

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> ReplayModel:  # noqa: ARG003
        """Open a complete run folder; see `StoredRun` for what it refuses."""
        return cls(StoredRun(Path(checkpoint)))

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The stored replies."""
        return [self._reply(request) for request in requests]

    draw = answer
    edit = answer

    def _reply(self, request: Request) -> Reply:
        output = self._outputs.get(request.uid)
        if output is None:
            return Reply(error="the replayed run has no output for this request")
        if output.refused:
            return Reply(refused=output.refused, tokens=output.tokens)
        missing = output.error or output.skipped
        if missing:
            return Reply(error=missing)
        if output.image is None:
            return Reply(text=output.text, tokens=output.tokens)
        try:
            image = self._run.pictures.load(output.image)
        except DatasetError as failure:
            return Reply(error=f"the replayed run: {failure}")
        return Reply(text=output.text, image=image, tokens=output.tokens)
