"""The training seeds of a page beside the first of each side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pairuni_eval.store.read import StoredRun


class Seeds(NamedTuple):
    """Further training seeds: of the reported run, and of each baseline by its name."""

    ours: Sequence[StoredRun] = ()
    theirs: Mapping[str, Sequence[StoredRun]] = MappingProxyType({})


NO_SEEDS = Seeds()
