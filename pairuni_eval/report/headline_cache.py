"""Headlines of many runs, each made once: what was made is kept in a file beside the page.

A headline is known by what it is made of: the hashes of the run's tables and of what other toolkits
computed, the benchmark's card, what the run does with the benchmark, and the version of this
package. Runs that are one but for their name share theirs. The tables of a run are compared with
its COMPLETE whether or not its headlines are known; a file that cannot be read, or was written by
another version, is made anew.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pairuni_eval import __version__
from pairuni_eval.places import is_file
from pairuni_eval.report.sections import headline_number
from pairuni_eval.seeds import stable_hash
from pairuni_eval.stats.tables import MetricRow, Tables
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.write import write_whole

_FORMAT = "pairuni-headlines/1"


class Headline(msgspec.Struct, frozen=True):
    """The headline of a benchmark, and who gave the values behind it.

    Attributes:
        row: The number, without groups.
        scorers, judges: Who gave the values, sorted.
    """

    row: MetricRow
    scorers: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()


class _KeptHeadlines(msgspec.Struct, frozen=True):
    """What the file holds: headlines by what they are made of."""

    format: str
    headlines: dict[str, Headline]


class HeadlineCache:
    """Headlines that are made once.

    Args:
        path: The file that keeps them.

    Attributes:
        made: How many were made since it was opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._used: dict[str, Headline] = {}
        self.made = 0

    def headlines(self, run: StoredRun) -> dict[str, Headline]:
        """The headline of every benchmark of a run; those of an unfinished run are not kept.

        Raises:
            UserError: if a table of the run is changed, or a metric cannot be made.
        """
        if run.unfinished:
            tables = Tables(run)
            return {name: self._make(tables, name) for name in run.card.benchmarks}
        run.verify_tables()
        addresses = {name: _address(run, name) for name in run.card.benchmarks}
        lacking = [one for one in addresses.values() if one not in self._known]
        tables = Tables(run)
        for name, address in addresses.items():
            if address in lacking:
                self._known[address] = self._make(tables, name)
            self._used[address] = self._known[address]
        return {name: self._known[address] for name, address in addresses.items()}

    def keep(self) -> None:
        """Write what was used; what no run needed any more is left out.

        Raises:
            UserError: if the file cannot be written.
        """
        kept = _KeptHeadlines(_FORMAT, dict(sorted(self._used.items())))
        write_whole(self._path, msgspec.json.encode(kept) + b"\n")

    def _make(self, tables: Tables, name: str) -> Headline:
        self.made += 1
        row = headline_number(tables, name)
        graders = tables.graders(name, row.protocol, row.spec.of)
        return Headline(row, tuple(sorted(graders.scorers)), tuple(sorted(graders.judges)))


def _address(run: StoredRun, name: str) -> str:
    """What the headline of a benchmark is made of, as one hash."""
    seal = run.seal
    return stable_hash(
        _FORMAT,
        __version__,
        name,
        seal.sha256,
        seal.files.get(layout.EXTERNAL_METRICS),
        msgspec.to_builtins(run.cards[name]),
        msgspec.to_builtins(run.card.benchmarks[name]),
    )


def _read(path: Path) -> dict[str, Headline]:
    if not is_file(path):
        return {}
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_KeptHeadlines)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return kept.headlines if kept.format == _FORMAT else {}
