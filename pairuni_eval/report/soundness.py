"""The state of the files that a report rests on: lost pictures, dropped rows, rows unchecked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pairuni_eval.store.read import StoredRun

_CHECKED = "every row was checked"
_UNCHECKED = "unchecked: some were written before rows had checks"


class StoredState(NamedTuple):
    """The state of what a run and its baselines have stored.

    Attributes:
        losses: What is missing or changed, in sentences; empty for a sound run.
        rows: Whether the rows were checked, by what is printed in front of it.
        missing: Pictures that the run lacks.
        changed: Pictures of the run that are not what was stored.
    """

    losses: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    missing: int
    changed: int

    @property
    def entry(self) -> dict[str, Any]:
        """The counts for programs; empty for a sound run."""
        counts = {"missing_pictures": self.missing, "changed_pictures": self.changed}
        return {name: count for name, count in counts.items() if count}


def stored(run: StoredRun, baselines: Mapping[str, StoredRun]) -> StoredState:
    """Look at every picture of a run, and at what was shown of its baselines.

    Args:
        run: The reported run.
        baselines: The runs it stands against, by name, after their pictures were shown.
    """
    names = [("Rows", run), *((f"Rows of {name}", other) for name, other in baselines.items())]
    rows = [(title, _UNCHECKED if one.unchecked else _CHECKED) for title, one in names]
    sound = run.soundness
    return StoredState(tuple(_losses(run, baselines)), tuple(rows), sound.missing, sound.changed)


def _losses(run: StoredRun, baselines: Mapping[str, StoredRun]) -> Iterator[str]:
    sound = run.soundness
    if sound.missing:
        yield f"{_pictures(sound.missing)} missing from the run folder: {_not_shown(sound.missing)}"
    if sound.changed:
        when = f"since the run stored {_them(sound.changed)}"
        yield f"{_pictures(sound.changed)} changed {when}: {_not_shown(sound.changed)}"
    if sound.dropped:
        yield f"Damaged rows that are left out: {sound.dropped}."
    for name, other in baselines.items():
        if other.pictures.changed:
            yield f"{name}: {_pictures(other.pictures.changed)} changed, and not shown."


def _them(count: int) -> str:
    return "them" if count > 1 else "it"


def _not_shown(count: int) -> str:
    they = "they are" if count > 1 else "it is"
    return f"what rests on {_them(count)} stands as it was graded, and {they} not shown."


def _pictures(count: int) -> str:
    return f"{count:,} picture{'s are' if count > 1 else ' is'}"
