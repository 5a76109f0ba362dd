"""In what an arm differs: keys of the pair configuration, keys of the recipe.

A change to the value that is there anyway is none. So the 0.6 of a threshold table is the same arm,
with the same pair set and the same runs, as the method itself in every other table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairuni_eval.toolkit.data import assignment, changed
from pairuni_train.pair_data.config import PairConfig

_PLACE = "the pair configuration"


def real_changes(config: PairConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes that change something.

    Raises:
        UserError: as `changed_pairs`.
    """
    return {k: new for k, new in changes.items() if changed(config, {k: new}, _PLACE) != config}


def changed_pairs(config: PairConfig, changes: Mapping[str, str | int | float]) -> PairConfig:
    """A pair configuration with some keys replaced; UserError as `pairuni_eval.config.changed`."""
    return changed(config, changes, _PLACE)


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Keys of the recipe as `--set KEY=VALUE`, values in TOML on one line."""
    return [word for key, value in settings.items() for word in ("--set", assignment(key, value))]
