"""A place to work in, files beside it that must stay unread, and how many inputs are tried."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hostile.strangers import Outside, outside
from hostile.watch import Trial, all_hold

from pairuni_eval.seeds import seed_for

# All inputs of a kind when asked for by `-m slow`, else a fortieth of them.
SHARES = [pytest.param(40, id="a fortieth"), pytest.param(1, id="all", marks=pytest.mark.slow)]


class Ground(NamedTuple):
    """Where a test works.

    Attributes:
        home: The only folder in which anything may change.
        away: What must not be opened.
        every: Each how many-th input is tried.
    """

    home: Path
    away: Outside
    every: int

    def draw(self, kind: str, number: int) -> random.Random:
        """The randomness of one input."""
        return random.Random(seed_for(0, kind, number, "hostile input"))

    def hold(
        self, kind: str, count: int, make: Callable[[random.Random, Path], Callable[[], object]]
    ) -> dict[str, int]:
        """Try `count` inputs, or a share of them: none does harm; returns how they ended.

        Args:
            kind: The address of the draws.
            count: How many inputs there are.
            make: Makes one input in a folder of its own, and returns what to do with it.
        """
        return all_hold(self._trials(kind, count, make), self.away.paths, self.home)

    def _trials(
        self, kind: str, count: int, make: Callable[[random.Random, Path], Callable[[], object]]
    ) -> Iterator[Trial]:
        for number in range(0, count, self.every):
            folder = self.home / f"{number}"
            folder.mkdir()
            yield Trial(f"{kind} {number}", make(self.draw(kind, number), folder))


@pytest.fixture(params=SHARES)
def ground(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Ground:
    """A folder to work in, with its caches, and the files beside it."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TMPDIR"):
        (home / name).mkdir()
        monkeypatch.setenv(name, str(home / name))
    monkeypatch.setattr("tempfile.tempdir", str(home / "TMPDIR"))
    monkeypatch.chdir(home)
    return Ground(home, outside(tmp_path / "away"), request.param)
