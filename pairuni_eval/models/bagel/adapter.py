"""The BAGEL adapter: a folder of the official format, or a hub id, as a `Model`.

A folder is recognized by `llm_config.json`, `vit_config.json` and `ae.safetensors`, whatever its
config.json says: copies of the published folder are about whose config.json is no JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel.config import AUTOENCODER_FILE, CONFIG, read_table
from pairuni_eval.models.bagel.decodings import PRESETS, preset_of
from pairuni_eval.models.bagel.inference import BagelInference
from pairuni_eval.models.bagel.learner import BagelLearner
from pairuni_eval.models.bagel.loading import LoadedBagel, load_bagel, weight_file, with_precision
from pairuni_eval.models.bagel.policy import BagelPolicy
from pairuni_eval.models.base import LoadOptions, Memory, Model, Reply, Request
from pairuni_eval.models.batching import in_batches
from pairuni_eval.models.checkpoint import Located, find_folder, identity_of, read_declaration
from pairuni_eval.models.learner import LessonSettings
from pairuni_eval.models.placement import memory_of
from pairuni_eval.models.weights import numbers_in
from pairuni_eval.records import Capability, ModelIdentity

_FULL = 4  # bytes of a number of the auto-encoder, which is always in float32


class BagelModel(Model):
    """A loaded BAGEL checkpoint.

    Args:
        loaded: Weights, tokenizer and sizes.
        identity: Which weights these are.
        capabilities: What it was trained for.
        decodings: Its own decodings, by capability, in place of the official ones.
        hardware: What it runs on.
    """

    default_batch_sizes: ClassVar[Mapping[Capability, int]] = {
        Capability.UNDERSTAND: 16,
        Capability.GENERATE: 4,
        Capability.EDIT: 2,
    }

    def __init__(
        self,
        loaded: LoadedBagel,
        identity: ModelIdentity,
        capabilities: frozenset[Capability],
        decodings: Mapping[Capability, Decoding],
        hardware: str = "none",
    ) -> None:
        self.loaded, self.inference = loaded, BagelInference(loaded)
        self.identity = identity
        self.capabilities = capabilities
        self._decodings = decodings
        self.hardware = hardware

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> BagelModel:
        """Load from a folder or a hub id; see `Model.load`."""
        folder = find_folder(checkpoint)
        loaded = load_bagel(folder, options)
        placement = loaded.placement
        placement.settle(sum(one.numel() for one in loaded.network.parameters()))
        declared = read_declaration(folder)
        identity = identity_of(
            "bagel", checkpoint, Located(folder), weights=loaded.digest, dtype=placement.precision
        )
        names = declared.capabilities or tuple(Capability)
        return cls(
            *(loaded, identity, frozenset(map(Capability, names))),
            _decodings(folder),
            placement.hardware(compiled=options.compiled),
        )

    @classmethod
    def memory(cls, checkpoint: str, options: LoadOptions) -> Memory:
        """From the sizes of its tensors; see `Model.memory`."""
        folder = find_folder(checkpoint)
        network = memory_of([weight_file(folder)], with_precision(folder, options))
        autoencoder = sum(numbers_in(folder / AUTOENCODER_FILE).values()) * _FULL
        return network._replace(weights=network.weights + autoencoder)

    def decoding(self, capability: Capability, benchmark: str, card: Decoding) -> Decoding:  # noqa: ARG002
        """What its authors published for a benchmark; see `Model.decoding`."""
        return (
            self._decodings.get(capability)
            or self.presets(capability)[preset_of(capability, benchmark)]
        )

    def presets(self, capability: Capability) -> Mapping[str, Decoding]:
        """The settings of its authors' scripts, by name."""
        return PRESETS[capability]

    @property
    def policy(self) -> BagelPolicy:
        """The same weights, to be reinforced."""
        return BagelPolicy(self.loaded)

    def learner(self, settings: LessonSettings) -> BagelLearner:
        """The same weights, to be taught."""
        return BagelLearner(self.loaded, settings)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer questions; see `Model.answer`."""
        return in_batches(requests, self.inference.answer)

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw one image per prompt; see `Model.draw`."""
        return in_batches(requests, self.inference.draw)

    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """Draw the changed image; see `Model.edit`."""
        return in_batches(requests, self.inference.edit)


def _decodings(folder: Path) -> dict[Capability, Decoding]:
    """The folder's own decodings, where its config.json has some."""
    try:
        return msgspec.convert(
            read_table(folder).get("bagel_decoding", {}), dict[Capability, Decoding]
        )
    except msgspec.ValidationError as failure:
        raise UserError(f"{folder / CONFIG}: bagel_decoding: {failure}.") from failure
