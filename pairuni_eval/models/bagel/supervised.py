"""The losses of supervised fine-tuning: cross-entropy of words and the error of velocities.

    x_t = (1 - t) x + t e,   loss = |v(x_t, t) - (e - x)|^2 per number,

with x a picture's latents and e noise. One pass of the experts over a pack gives both; which loss
counts how much, and over how many tokens a sum is divided, is for the training loop to say.

Legend: L tokens of a pack, E words that are taught, T latent tokens that are drawn, C numbers of
one, D hidden size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pairuni_eval.models.bagel.network import Bagel, Routing
from pairuni_eval.models.bagel.packing import LatentPicture, Pack


class PackLosses(NamedTuple):
    """Losses of a pack, before any sum.

    Attributes:
        words_E: Cross-entropy of every word that is taught, in nats.
        velocities_TC: Squared error of every number of every latent token that is drawn.
    """

    words_E: Tensor
    velocities_TC: Tensor


def noised_time(raw: float, shift: float) -> float:
    """The time of a picture from a standard normal number: its sigmoid, moved towards noise."""
    even = 1 / (1 + math.exp(-raw))
    return shift * even / (1 + (shift - 1) * even)


def losses(network: Bagel, pack: Pack) -> PackLosses:
    """Both losses of a pack, with gradients."""
    hidden_LD = _hidden(network, pack)
    head = network.language_model.lm_head
    logits_EV = head(hidden_LD[pack.taught_E]).float()
    words_E = F.cross_entropy(logits_EV, pack.labels_E.to(logits_EV.device), reduction="none")
    return PackLosses(words_E, _velocity_errors(network, pack, hidden_LD))


def _hidden(network: Bagel, pack: Pack) -> Tensor:
    """Hidden states of all tokens."""
    device = network.device
    parts = [(network.words(pack.ids_W.to(device)), pack.words_W)]
    for picture, first in pack.seen:
        seen_TD = network.seen(picture.patches_TP[None].to(device), picture.places_T.to(device))[0]
        parts.append((seen_TD, _places(picture.places_T, first)))
    drawn = []
    for latent, first in pack.latents:
        time_1T = torch.full((1, len(latent.places_T)), latent.time, device=device)
        noised_TC, places_T = _noised(latent).to(device), latent.places_T.to(device)
        read_TD = network.latents(noised_TC[None], places_T[None], time_1T)[0]
        drawn.append(_places(latent.places_T, first))
        parts.append((read_TD, drawn[-1]))
    x_LD = torch.cat([one for one, _ in parts])
    order_L = torch.cat([where for _, where in parts]).argsort().to(device)
    hidden_1LD, _ = network.experts(
        x_LD[order_L][None],
        pack.positions_L[None].to(device),
        _routing(pack, drawn, device),
        mask_RLS=pack.visible()[None].to(device),
    )
    hidden_LD: Tensor = hidden_1LD[0]
    return hidden_LD


def _routing(pack: Pack, drawn: list[Tensor], device: torch.device) -> Routing:
    if not drawn:
        return Routing(slice(None), None)
    latent_L = torch.zeros(len(pack), dtype=torch.bool)
    latent_L[torch.cat(drawn)] = True
    return Routing((~latent_L).nonzero()[:, 0].to(device), latent_L.nonzero()[:, 0].to(device))


def _velocity_errors(network: Bagel, pack: Pack, hidden_LD: Tensor) -> Tensor:
    """Squared errors (T, C) in float32; without a picture to draw there is no row."""
    found = [
        (one.noise_TC - one.tokens_TC, _places(one.places_T, first))
        for one, first in pack.latents
        if one.noise_TC is not None
    ]
    if not found:
        return hidden_LD.new_zeros(0, network.config.token, dtype=torch.float32)
    where_T = torch.cat([where for _, where in found]).to(hidden_LD.device)
    target_TC = torch.cat([target for target, _ in found]).to(hidden_LD.device)
    velocity_TC = network.llm2vae(hidden_LD[where_T]).float()
    errors: Tensor = (velocity_TC - target_TC).square()
    return errors


def _noised(picture: LatentPicture) -> Tensor:
    if picture.noise_TC is None:
        return picture.tokens_TC
    return (1 - picture.time) * picture.tokens_TC + picture.time * picture.noise_TC


def _places(places_T: Tensor, first: int) -> Tensor:
    return torch.arange(first, first + len(places_T))
