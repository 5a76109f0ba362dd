"""Starts `pairuni-train` commands, each in a forked process that can be killed or be one of ranks.

A start from nothing spends seconds on imports; here a server does them once. It reads orders as
JSON lines: {"start": ARGUMENTS, "environment": {...}} is answered with the number of the process,
{"wait": NUMBER} with its exit code, minus the signal's number after a kill.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Starter:
    """The side of a test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def start(self, arguments: Sequence[object], environment: Mapping[str, str] = {}) -> int:
        """Start `pairuni-train ARGUMENTS`; returns the number of the process."""
        words = [str(argument) for argument in arguments]
        return int(self._order({"start": words, "environment": dict(environment)}))

    def wait(self, process: int) -> int:
        """The exit code of a process."""
        return int(self._order({"wait": process}))

    def run(self, arguments: Sequence[object]) -> int:
        """Start a command and wait for its end."""
        return self.wait(self.start(arguments))

    def run_on_ranks(self, arguments: Sequence[object], ranks: int) -> list[int]:
        """Run one command on several ranks over gloo, as torchrun would."""
        world = {
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
        }
        started = [
            self.start(arguments, {**world, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(ranks)
        ]
        return [self.wait(process) for process in started]

    def close(self) -> None:
        """End the server."""
        self._process.communicate()

    def _order(self, order: Mapping[str, object]) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def serve() -> None:
    """The server: carry out orders until the input ends."""
    import torch
    import transformers

    import pairuni_train.run  # noqa: F401

    torch.set_num_threads(1)
    _ = transformers.JanusForConditionalGeneration, transformers.AutoProcessor
    print("ready", flush=True)
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        process = os.fork()
        if process == 0:
            _child(order["start"], order["environment"])
        print(process, flush=True)


def _child(arguments: list[str], environment: Mapping[str, str]) -> None:
    from pairuni_train.cli import main as command

    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the server's answers go there
    sys.argv = ["pairuni-train", *arguments]
    code = 0
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 - the child must not return into the server's loop
        import traceback

        traceback.print_exc()
        code = 1
    os._exit(code)


if __name__ == "__main__":
    serve()
