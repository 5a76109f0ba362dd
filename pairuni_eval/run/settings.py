"""What a user asks of a run: one frozen value, equal to the options of `pairuni-eval run`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from pairuni_eval import catalog
from pairuni_eval.cards import Card
from pairuni_eval.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The options of a run; see `pairuni-eval run --help`.

    Attributes:
        benchmarks: Names as asked for; empty means those of the suite.
        suite: Name of a suite, or None if benchmarks were named.
        batch_size: Requests per batch, or None for what suits the model.
        limit: Samples per benchmark; a run with a limit is PARTIAL.
    """

    checkpoint: str
    out: Path
    adapter: str | None = None
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

    def cards(self) -> list[Card]:
        """The cards of the benchmarks asked for, in order.

        Raises:
            UserError: for an unknown name or a number out of range.
        """
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit is {self.limit}; it must be at least 1.")
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"--batch-size is {self.batch_size}; it must be at least 1.")
        if self.data is not None and not self.data.is_dir():
            raise UserError(f"--data {self.data} is no folder.")
        names = self.benchmarks or catalog.find_suite(self.suite or "").benchmarks
        return [catalog.find_card(name) for name in dict.fromkeys(names)]

    def command(self) -> str:
        """The command that repeats this run, without where it writes."""
        options: list[tuple[str, object]] = [
            ("--checkpoint", self.checkpoint),
            ("--model", self.adapter),
            ("--suite", self.suite),
            ("--benchmarks", ",".join(self.benchmarks) or None),
            ("--data", self.data),
            ("--limit", self.limit),
            ("--seed", self.seed),
            ("--batch-size", self.batch_size),
            ("--judge", self.judge),
            ("--device", None if self.device == "auto" else self.device),
            ("--dtype", None if self.dtype == "auto" else self.dtype),
        ]
        words = ["pairuni-eval", "run"]
        for option, value in options:
            if value is not None:
                words += [option, str(value)]
        if self.compiled:
            words.append("--compile")
        return shlex.join(words)
