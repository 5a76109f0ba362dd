"""Which decoding a benchmark is measured with, and what it is called if it was published.

The usual one is the model's, else the card's. `--set decoding.preset=NAME` takes a published one of
the model in its place, for every benchmark of a capability that has one of that name; other
settings change what is then there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pairuni_eval.cards import Card
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError, nearest, unknown_name
from pairuni_eval.models.base import Model
from pairuni_eval.runner.settings import PRESET, RunSettings


class NamedDecoding(NamedTuple):
    """A decoding, and the name that it was published under; empty if it was not."""

    decoding: Decoding
    preset: str


def check_preset(settings: RunSettings, model: Model, cards: Iterable[Card]) -> None:
    """See that a preset that was asked for is one of the model, for some benchmark of the run.

    Raises:
        UserError: naming the nearest.
    """
    if settings.preset is None:
        return
    capabilities = dict.fromkeys(card.capability for card in cards)
    known = sorted({name for one in capabilities for name in model.presets(one)})
    if not known:
        raise UserError(
            f"--set {PRESET}={settings.preset}: the adapter '{model.identity.adapter}' has no "
            "presets for what is measured.",
            hint="Leave it out, or set single values: --set decoding.cfg_scale=4",
        )
    if settings.preset not in known:
        example = nearest(settings.preset, known) or known[0]
        raise unknown_name("preset", settings.preset, known, hint=f"e.g. --set {PRESET}={example}")


def decoding_of(settings: RunSettings, model: Model, card: Card) -> NamedDecoding:
    """How a benchmark is measured."""
    known = model.presets(card.capability)
    usual = model.decoding(card.capability, card.name, card.decoding)
    decoding = settings.decoding(known.get(settings.preset or "", usual))
    names = [name for name, one in known.items() if one == decoding]
    asked = settings.preset in names
    return NamedDecoding(decoding, str(settings.preset) if asked else next(iter(names), ""))
