"""The Lumina-DiMOO adapter: a folder of the official format, or a hub id, as a `Model`.

A folder is recognized by `model_type` llada with a `vqvae/` folder beside it. What the model's
authors publish is its own decoding: one token in one step for questions, as their evaluation does;
64 steps at temperature 1 for pictures, guidance s = 4, and 2.5 and 4 (text and source) for edits.
Our `cfg_scale` is 1 + s. A folder may have decodings of its own in config.json (`dimoo_decoding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Memory, Model, Reply, Request, Task
from pairuni_eval.models.batching import in_batches
from pairuni_eval.models.checkpoint import (
    Located,
    find_folder,
    identity_of,
    read_config,
    read_declaration,
)
from pairuni_eval.models.folder_files import FolderFiles
from pairuni_eval.models.lumina_dimoo.config import VQ_FOLDER, read_dimoo_config
from pairuni_eval.models.lumina_dimoo.files import KEPT
from pairuni_eval.models.lumina_dimoo.layout import Layout
from pairuni_eval.models.lumina_dimoo.network import Network
from pairuni_eval.models.lumina_dimoo.policy import DimooPolicy
from pairuni_eval.models.lumina_dimoo.vq import Vq
from pairuni_eval.models.placement import memory_of, place
from pairuni_eval.models.strict_loading import fill, on_meta
from pairuni_eval.models.tokenizer_file import read_tokenizer
from pairuni_eval.models.weights import check_weights, joint_digest
from pairuni_eval.records import Capability, ModelIdentity

_OFFICIAL = {
    Capability.UNDERSTAND: Decoding(temperature=0.0, steps=1, answer_tokens=1),
    Capability.GENERATE: Decoding(temperature=1.0, cfg_scale=5.0, steps=64),
    Capability.EDIT: Decoding(temperature=1.0, cfg_scale=3.5, cfg_image_scale=5.0, steps=64),
}


class DimooModel(Model):
    """A loaded Lumina-DiMOO checkpoint.

    Args:
        policy: The model with its tokenizer.
        identity: Which weights these are.
        capabilities: What it was trained for.
        decodings: How it is measured, by capability.
        hardware: What it runs on.
    """

    def __init__(
        self,
        policy: DimooPolicy,
        identity: ModelIdentity,
        capabilities: frozenset[Capability],
        decodings: Mapping[Capability, Decoding],
        hardware: str = "none",
    ) -> None:
        self.policy = policy.eval()
        self.identity = identity
        self.capabilities = capabilities
        self._decodings = decodings
        self.hardware = hardware

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> DimooModel:
        """Load from a folder, a hub id or "tiny-dimoo"; see `Model.load`."""
        folder = find_folder(checkpoint)
        config = read_dimoo_config(folder)
        layout = Layout(read_tokenizer(folder), config.ids, folder)
        parts = (check_weights(folder), check_weights(folder / VQ_FOLDER))
        placement = place(options, own=parts[0].dtype)
        network, vq = on_meta(lambda: Network(config.network)), on_meta(lambda: Vq(config.vq))
        fill(network, parts[0], "Lumina-DiMOO")
        fill(vq, parts[1], "Lumina-DiMOO's VQ")
        policy = DimooPolicy(
            network.to(placement.device, placement.dtype),
            vq.to(placement.device).float(),
            *(layout, config, FolderFiles.read(folder, KEPT)),
        )
        placement.settle(policy.size())
        declared = read_declaration(folder)
        identity = identity_of(
            "llada",
            checkpoint,
            Located(folder),
            weights=joint_digest([part.digest for part in parts]),
            dtype=placement.precision,
        )
        names = declared.capabilities or tuple(Capability)
        return cls(
            *(policy, identity, frozenset(map(Capability, names))),
            _decodings(folder),
            placement.hardware(compiled=options.compiled),
        )

    @classmethod
    def memory(cls, checkpoint: str, options: LoadOptions) -> Memory:
        """From the sizes of its tensors; see `Model.memory`."""
        folder = find_folder(checkpoint)
        network, vq = memory_of([folder], options), memory_of([folder / VQ_FOLDER], options)
        return network._replace(weights=network.weights + vq.weights)

    def decoding(self, capability: Capability, benchmark: str, card: Decoding) -> Decoding:  # noqa: ARG002
        """What its authors published; see `Model.decoding`."""
        return self._decodings[capability]

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer questions; see `Model.answer`."""
        return self._respond("und", requests)

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw one image per prompt; see `Model.draw`."""
        return self._respond("gen", requests)

    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw the changed image; the source enters as its codes."""
        return self._respond("gen", requests)

    def _respond(self, task: Task, requests: Sequence[Request]) -> list[Reply]:
        return in_batches(requests, lambda same: self._together(task, same))

    def _together(self, task: Task, requests: Sequence[Request]) -> list[Reply]:
        """Replies of requests that share their decoding; pictures of one grid go together."""
        replies: list[Reply] = [Reply()] * len(requests)
        for places in self.policy.alike(task, requests):
            rollout = self.policy.sample(task, [requests[place] for place in places])
            for place_, reply in zip(places, self.policy.decode(rollout), strict=True):
                replies[place_] = reply
        return replies


def _decodings(folder: Path) -> dict[Capability, Decoding]:
    """The official decodings, or what the folder's config.json has in their place."""
    table = read_config(folder).get("dimoo_decoding", {})
    try:
        given = msgspec.convert(table, dict[Capability, Decoding])
    except msgspec.ValidationError as failure:
        raise UserError(f"{folder / 'config.json'}: dimoo_decoding: {failure}.") from failure
    return {**_OFFICIAL, **given}
