"""Starts `pairuni-eval` commands on order, each in a forked process and a process group of its own.

Orders are JSON lines on standard input: {"arguments": [...], "log": FILE, "die": null or MOMENT}.
The reply is {"pid": N} at once and {"code": N} at the end, once a further line asks for it: until
then the number belongs to that process. MOMENT makes the command kill itself with SIGKILL inside
the `nth` call of fsync on a file whose path holds `file`, or the `nth` removal of one (`"call":
"unlink"`); with `torn`, half of the file's last line is cut off first, as if the disk had got no
further.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Child:
    """One command in a process group of its own."""

    def __init__(self, server: Forked, pid: int, log: Path) -> None:
        self._server = server
        self.pid = pid
        self.log = log

    def wait(self) -> int:
        """The exit code; minus the signal's number after a kill."""
        self._server.send({"wait": self.pid})
        return int(self._server.read()["code"])


class Forked:
    """Starts commands from a process that has imported everything already.

    A start from nothing spends seconds on imports; here each command is still a real process
    that can be killed.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == {"ready": True}

    def start(self, *arguments: object, log: Path, die: Mapping[str, Any] | None = None) -> Child:
        """Start `pairuni-eval ARGUMENTS`; with `die`, see above."""
        self.send({"arguments": [str(a) for a in arguments], "log": str(log), "die": die})
        return Child(self, int(self.read()["pid"]), log)

    def run(self, *arguments: object, log: Path, die: Mapping[str, Any] | None = None) -> int:
        """Start a command and wait for its end."""
        return self.start(*arguments, log=log, die=die).wait()

    def send(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that starts the commands has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    """Serve orders until the input ends."""
    _preload()
    print(json.dumps({"ready": True}), flush=True)
    while line := sys.stdin.readline():
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        os.setpgid(pid, pid)
        print(json.dumps({"pid": pid}), flush=True)
        sys.stdin.readline()
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _preload() -> None:
    import pandas  # noqa: F401
    import torch
    import transformers

    import pairuni_eval.models.janus
    import pairuni_eval.report.build
    import pairuni_eval.runner.run
    import pairuni_eval.tiny.janus  # noqa: F401
    from pairuni_eval import catalog
    from pairuni_eval.data import Data

    torch.set_num_threads(1)
    for name in ("tiny-pope", "tiny-geneval"):  # fills what children would each fill again
        benchmark = catalog.load_benchmark(name)
        list(benchmark.samples(Data(benchmark.card, benchmark.folder)))
    _ = transformers.JanusForConditionalGeneration, transformers.AutoProcessor


def _child(order: dict[str, Any]) -> None:
    from pairuni_eval.cli import main as command

    with contextlib.suppress(PermissionError):  # the server was first
        os.setpgid(0, 0)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 0
    if order["die"]:
        _arm(order["die"])
    sys.argv = ["pairuni-eval", *order["arguments"]]
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 - the child must not return into the server's loop
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _arm(moment: dict[str, Any]) -> None:
    """Let the process kill itself at that moment."""
    left = moment["nth"]
    fsync, unlink = os.fsync, os.unlink

    def meet(path: str) -> None:
        nonlocal left
        if moment["file"] not in path:
            return
        left -= 1
        if left == 0:
            if moment.get("torn"):
                _tear(Path(path))
            os.killpg(0, signal.SIGKILL)

    def watched_fsync(handle: int) -> None:
        fsync(handle)
        if moment.get("call", "fsync") == "fsync":
            meet(str(Path(f"/proc/self/fd/{handle}").readlink()))

    def watched_unlink(path: Any, **options: Any) -> None:
        if moment.get("call") == "unlink":
            meet(os.fspath(path))
        unlink(path, **options)

    os.fsync, os.unlink = watched_fsync, watched_unlink


def _tear(path: Path) -> None:
    data = path.read_bytes()
    start = data.rfind(b"\n", 0, -1) + 1
    os.truncate(path, start + (len(data) - start) // 2)


if __name__ == "__main__":
    main()
