"""How a process behaves that is not the first rank of a command: it says only what failed in it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from pairuni_eval.errors import UserError
from pairuni_eval.ranks import RankGroup, RankLost, Ranks


@contextmanager
def as_other_rank(ranks: Ranks) -> Iterator[RankGroup]:
    """The ranks of a command, met as one of them that the first speaks for.

    Args:
        ranks: Which of them this is.

    Raises:
        UserError: for one of this rank, which names it.
        RankLost: on rank 1, for all: another rank has ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first rank says what an interruption leaves
    logging.disable(logging.WARNING)  # and what there is to note
    try:
        with RankGroup(ranks, os.environ) as group:
            yield group
    except RankLost as lost:
        if ranks.rank > 1:
            raise typer.Exit(2) from lost  # rank 1 says it for all
        raise
    except UserError as error:
        raise UserError(f"{ranks}: {error.message}", hint=error.hint) from error
    except Exception as bug:
        bug.add_note(f"This was {ranks}.")
        raise
