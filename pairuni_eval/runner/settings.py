"""The settings of a run: one frozen value, equal to the options of `pairuni-eval run`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pairuni_eval import catalog
from pairuni_eval.cards import Card
from pairuni_eval.commands import as_typed
from pairuni_eval.config import Strict, changed, read_assignments
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError, unknown_name
from pairuni_eval.places import is_folder

PRESET = "decoding.preset"


class _Changeable(Strict, frozen=True, kw_only=True):
    """What `--set` can change."""

    decoding: Decoding


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The options of a run; see `pairuni-eval run --help`.

    Attributes:
        benchmarks: Names asked for, in whatever order; empty means those of the suite.
        suite: Name of a suite, or None if benchmarks were named.
        batch_size: Requests per batch, or None for what suits the model.
        limit: Samples per benchmark; a run with a limit is PARTIAL.
        judge: A judge plugin or a judge file instead of the cards' judges, or "none".
        protocols: Grade under these only; empty means all of each card.
        arguments: What the adapter is told by name, as typed: KEY=VALUE,KEY=VALUE.
        changes: What replaces settings of every benchmark, as typed: decoding.KEY=VALUE.
        remote_code: Whether code that lies in the checkpoint may be run.
        painter: The finished run whose pictures are read, by benchmarks that read any.
        control: Another painter's run of the same prompts, to be read beside it.
    """

    checkpoint: str
    out: Path
    adapter: str | None = None
    arguments: str | None = None
    suite: str | None = None
    benchmarks: tuple[str, ...] = ()
    data: Path | None = None
    limit: int | None = None
    seed: int = 0
    batch_size: int | None = None
    judge: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    compiled: bool = False
    protocols: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    remote_code: bool = False
    painter: Path | None = None
    control: Path | None = None

    def decoding(self, usual: Decoding) -> Decoding:
        """A decoding with the changes that were asked for.

        Raises:
            UserError: for a key that no decoding has, or a wrong value.
        """
        given = read_assignments(self.changes)
        given.pop(PRESET, None)
        return usual if not given else changed(_Changeable(decoding=usual), given, "--set").decoding

    @property
    def preset(self) -> str | None:
        """The name of a published decoding that takes the place of the usual one."""
        found = read_assignments(self.changes).get(PRESET)
        return None if found is None else str(found)

    @property
    def changed(self) -> tuple[str, ...]:
        """The settings of a decoding that were asked to be changed, one by one."""
        keys = (key.split(".")[1:2] for key in read_assignments(self.changes) if key != PRESET)
        return tuple(dict.fromkeys(name for names in keys for name in names))

    def cards(self) -> list[Card]:
        """The cards of the benchmarks asked for, with the protocols asked for.

        Those of a suite stand in its order, those named one by one sorted by name.

        Raises:
            UserError: for an unknown name or a number out of range.
        """
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit is {self.limit}; it must be at least 1.", hint="--limit 40")
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(
                f"--batch-size is {self.batch_size}; it must be at least 1.",
                hint="Leave it out: the model says what suits it.",
            )
        if self.data is not None and not is_folder(self.data):
            raise UserError(
                f"--data {self.data} is not a folder.",
                hint=as_typed("pairuni-eval", "fetch", "--suite", "paper", "--to", self.data),
            )
        self.decoding(Decoding())
        names = in_order(self.benchmarks) or catalog.find_suite(self.suite or "").benchmarks
        cards = [catalog.find_card(name) for name in dict.fromkeys(names)]
        return [_restricted(card, self.protocols) for card in cards]

    def command(self) -> str:
        """The command that repeats this run, without where it writes."""
        if self.protocols:
            return self._grade_command()
        options: list[tuple[str, object]] = [
            ("--checkpoint", self.checkpoint),
            ("--model", self.adapter),
            ("--model-args", self.arguments),
            ("--suite", self.suite),
            ("--benchmarks", ",".join(in_order(self.benchmarks)) or None),
            ("--data", self.data),
            ("--limit", self.limit),
            ("--seed", self.seed),
            ("--batch-size", self.batch_size),
            ("--judge", self.judge),
            ("--painter", self.painter),
            ("--control", self.control),
            ("--device", None if self.device == "auto" else self.device),
            ("--dtype", None if self.dtype == "auto" else self.dtype),
            *(("--set", change) for change in self.changes),
        ]
        words = _words("run", options)
        if self.compiled:
            words.append("--compile")
        if self.remote_code:
            words.append("--allow-remote-code")
        return shlex.join(words)

    def _grade_command(self) -> str:
        """As `command`, where single protocols grade recorded outputs: only `grade` does that."""
        options: list[tuple[str, object]] = [
            ("--benchmark", ",".join(self.benchmarks)),
            ("--protocol", ",".join(self.protocols)),
            ("--responses", self.checkpoint.partition(":")[2]),
            ("--data", self.data),
            ("--limit", self.limit),
            ("--judge", self.judge),
            ("--device", None if self.device == "auto" else self.device),
        ]
        return shlex.join(_words("grade", options))


def in_order(benchmarks: Sequence[str]) -> tuple[str, ...]:
    """Benchmarks named one by one, in the order in which they are measured: nobody chooses it."""
    return tuple(sorted(set(benchmarks)))


def _words(verb: str, options: Sequence[tuple[str, object]]) -> list[str]:
    """The words of a command, without the options that are None."""
    given = [(option, str(value)) for option, value in options if value is not None]
    return ["pairuni-eval", verb, *(word for pair in given for word in pair)]


def _restricted(card: Card, names: Sequence[str]) -> Card:
    """The card with only the named protocols, in their order; all of them if none is named."""
    for name in names:
        if name not in card.protocols:
            raise unknown_name(
                "protocol",
                name,
                card.protocols,
                of=f"'{card.name}'",
                list_command="pairuni-eval list benchmarks",
            )
    chosen = {name: card.protocols[name] for name in names or card.protocols}
    return msgspec.structs.replace(card, protocols=chosen)
