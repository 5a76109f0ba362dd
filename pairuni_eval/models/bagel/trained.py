"""The weights of BAGEL as a trainer sees them: layers, what both tasks share, and the folder.

Which weights words and velocities both reach follows from the network: those of the generation
expert see no word, the head sees no picture, and of the last layer's understanding expert a latent
looks at keys and values alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairuni_eval.models.bagel.config import AUTOENCODER_FILE, WEIGHT_FILES
from pairuni_eval.models.bagel.loading import LoadedBagel
from pairuni_eval.models.bagel.network import GENERATION
from pairuni_eval.models.policies import parameters_by_block, tensor_names

_OWN = "network."  # what this module puts before the names of the weights
_EXPERTS = "language_model.model."
_REACHED = (_EXPERTS, "vit_model.", "connector.")
# Of the last layer's understanding expert, what latents look back on.
_LOOKED_AT = ("k_proj", "v_proj", "k_norm", "input_layernorm")


class BagelWeights(nn.Module):
    """A loaded BAGEL whose network is trained; its auto-encoder never is.

    Args:
        loaded: Weights, tokenizer and sizes.
    """

    def __init__(self, loaded: LoadedBagel) -> None:
        super().__init__()
        self.network = loaded.network
        self.loaded = loaded

    def layers(self) -> Iterable[nn.Module]:
        """The layers of both experts."""
        layers: Iterable[nn.Module] = self.network.experts.layers
        return layers

    def checkpoint_activations(self) -> None:
        """Run the layers again in the backward pass."""
        for layer in self.network.experts.layers:
            inner = layer.forward
            layer.forward = lambda *given, inner=inner: checkpoint(
                inner, *given, use_reentrant=False
            )

    def shared_parameters(self) -> dict[str, str]:
        """What both losses reach where pictures are seen in questions alone, by block."""
        names = [name for name, _ in self.network.named_parameters()]
        shared = set(shared_weights(names, self.loaded.config.language.num_hidden_layers))
        blocks = parameters_by_block(self, f"{_OWN}{_EXPERTS}", repeated="layers")
        return {name: one for name, one in blocks.items() if name.removeprefix(_OWN) in shared}

    def weight_files(self) -> dict[str, dict[str, str]]:
        """The official names; the auto-encoder beside them never trains."""
        return {WEIGHT_FILES[0]: {one: one.removeprefix(_OWN) for one in tensor_names(self)}}

    def save(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write a folder of the official format, with its `pairuni.json`."""
        own = self.state_dict() if weights is None else weights
        named = {name.removeprefix(_OWN): tensor for name, tensor in own.items()}
        written = {
            WEIGHT_FILES[0]: named,
            AUTOENCODER_FILE: self.loaded.autoencoder.state_dict(),
        }
        self.loaded.files.write(folder, declaration, written)


def shared_weights(names: Iterable[str], layers: int) -> list[str]:
    """The weights that get a gradient from words and from velocities.

    Those of the vision tower are among them where the sources of edits are seen.

    Args:
        names: Of all weights.
        layers: Of the experts.
    """
    last = f"{_EXPERTS}layers.{layers - 1}."
    return [
        name
        for name in names
        if name.startswith(_REACHED)
        and GENERATION not in name
        and name != f"{_EXPERTS}norm.weight"
        and (not name.startswith(last) or any(one in name for one in _LOOKED_AT))
    ]
