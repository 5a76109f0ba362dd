"""Starts `pairuni-train` commands, each a process that can be killed or be one of several ranks."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.fork_server import Child


def world(ranks: int) -> list[dict[str, str]]:
    """What torchrun leaves in the environment of each rank of one machine."""
    shared = {
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Starter:
    """Starts commands from the server at an address; what they print on standard output is lost."""

    def __init__(self, address: str) -> None:
        self._address = address

    def start(
        self,
        arguments: Sequence[object],
        environment: Mapping[str, str] = {},
        die: Mapping[str, Any] | None = None,
    ) -> Child:
        """Start `pairuni-train ARGUMENTS` with these variables beside those of this process.

        `die` says when it kills itself, as in `support.fork_server`.
        """
        with Path(os.devnull).open("r+b") as nothing:
            return Child(
                self._address,
                "pairuni_train.cli",
                arguments,
                (nothing, nothing, 2),
                {**os.environ, **environment},
                die,
            )

    def run(self, arguments: Sequence[object]) -> int:
        """Start a command and wait for its end."""
        return self.start(arguments).wait()

    def run_on_ranks(self, arguments: Sequence[object], ranks: int) -> list[int]:
        """Run one command on several ranks over gloo, as torchrun would."""
        started = [self.start(arguments, environment) for environment in world(ranks)]
        return [process.wait() for process in started]
