"""Starts `pairuni-eval` and `pairuni-train` in processes forked from one that has imported all.

A start from nothing spends seconds on imports and on compiling the report's templates; here each
command is still a real process that can be killed, be one of several ranks, or be started by the
product itself (`write_python`). One
server serves all workers of a test run; it ends with the last of those who hold a connection.

An order is one message over a connection of its own: a JSON object with `module`, `arguments`,
`environment`, `folder`, `python`, `anew` and `die`, and with the three standard streams. The reply
is {"pid": N} at once and {"code": N} at the end, once {"wait": N} asks for it: until then the
number belongs to that process. A command whose connection is cut is killed. {"hold": true}, which
only keeps the server alive, is answered in kind.

`anew` names packages that the command imports anew, for they read the environment when they are
imported.

`die` is null or a moment at which the command kills itself with SIGKILL: inside the `nth` call of
fsync on a file whose path holds `file`, or the `nth` removal of one (`"call": "unlink"`); with
`torn`, half of the file's last line is cut off first, as if the disk had got no further.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_MOST = 1 << 20  # bytes of a message


@contextlib.contextmanager
def held_server(folder: Path) -> Iterator[str]:
    """The address of the server of a folder, started if there is none; it lives meanwhile."""
    from filelock import FileLock  # `run_as_python` has the standard library alone

    note = folder / "fork-server"
    with FileLock(folder / "fork-server.lock"):
        try:
            connection = _held(note.read_text())
        except (FileNotFoundError, ConnectionError):  # nobody's yet, or nobody's any more
            note.write_text(_start_server())
            connection = _held(note.read_text())
    with connection:
        yield note.read_text()


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _held(address: str) -> socket.socket:
    """A connection that the server has taken."""
    connection = _connect(address)
    connection.send(json.dumps({"hold": True}).encode())
    if not connection.recv(_MOST):
        connection.close()
        raise ConnectionResetError("the server has ended")
    return connection


def _start_server() -> str:
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address, "the process that starts the commands has ended"
    return address


class Child:
    """One command in a process group of its own.

    Args:
        address: Where the server listens.
        module: What runs, as of `python -m MODULE`.
        arguments: Its words.
        streams: Standard input, output and error.
        environment: Its whole environment; that of this process if None.
        die: When it kills itself; see the module.
        python: What the command is to take for its Python; that of the server if None.
        anew: Packages that the command imports anew; see the module.
    """

    def __init__(
        self,
        address: str,
        module: str,
        arguments: Sequence[object],
        streams: Sequence[int | IO[Any]],
        environment: Mapping[str, str] | None = None,
        die: Mapping[str, Any] | None = None,
        python: str | None = None,
        anew: Sequence[str] = (),
    ) -> None:
        self._connection = _connect(address)
        order = {
            "module": module,
            "arguments": [str(argument) for argument in arguments],
            "environment": dict(os.environ if environment is None else environment),
            "folder": str(Path.cwd()),
            "die": die,
            "python": python,
            "anew": list(anew),
        }
        handles = [one if isinstance(one, int) else one.fileno() for one in streams]
        socket.send_fds(self._connection, [json.dumps(order).encode()], handles)
        self.pid = int(self._read()["pid"])

    def wait(self) -> int:
        """The exit code; minus the signal's number after a kill."""
        self._connection.send(json.dumps({"wait": self.pid}).encode())
        code = int(self._read()["code"])
        self._connection.close()
        return code

    def _read(self) -> dict[str, int]:
        said = self._connection.recv(_MOST)
        assert said, "the process that starts the commands has ended"
        answer: dict[str, int] = json.loads(said)
        return answer


class Forked:
    """Starts `pairuni-eval` commands from the server at an address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def start(
        self,
        *arguments: object,
        log: Path,
        die: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] = {},
    ) -> Child:
        """Start `pairuni-eval ARGUMENTS`, whose words go to `log`; with `die`, see above.

        The variables of `environment` stand beside those of this process.
        """
        with log.open("wb") as said, Path(os.devnull).open("rb") as nothing:
            return Child(
                self._address,
                "pairuni_eval",
                arguments,
                (nothing, said, said),
                {**os.environ, **environment},
                die=die,
            )

    def run(self, *arguments: object, log: Path, die: Mapping[str, Any] | None = None) -> int:
        """Start a command and wait for its end."""
        return self.start(*arguments, log=log, die=die).wait()


def run_captured(
    address: str,
    arguments: Sequence[object],
    environment: Mapping[str, str],
    folder: Path,
    *,
    module: str = "pairuni_eval.cli",
    anew: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and keep what it prints; see `Child`."""
    with contextlib.ExitStack() as files:
        files.enter_context(contextlib.chdir(folder))
        out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        nothing = files.enter_context(Path(os.devnull).open("rb"))
        child = Child(address, module, arguments, (nothing, out, err), environment, anew=anew)
        code = child.wait()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *said)


def write_python(path: Path, address: str) -> Path:
    """An executable that runs `-m MODULE` by the server, and all else as this Python does."""
    tests = str(Path(__file__).parents[1])
    path.write_text(
        f"#!{sys.executable} -IS\n"
        f"import sys\nsys.path.insert(0, {tests!r})\n"
        "from support.fork_server import run_as_python\n"
        f"run_as_python({address!r}, {sys.executable!r})\n"
    )
    path.chmod(0o755)
    return path


def run_as_python(address: str, python: str) -> None:
    """Be the command that this process's arguments name; see `write_python`."""
    if sys.argv[1:2] != ["-m"]:
        os.execv(python, [python, *sys.argv[1:]])
    child = Child(address, sys.argv[2], sys.argv[3:], (0, 1, 2), python=sys.argv[0])
    code = child.wait()
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


class _Server:
    """Carries out orders until no connection is left."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._children: dict[socket.socket, int] = {}

    def serve(self) -> None:
        """Serve the first connection and those that come before the last has gone."""
        open_connections = 0
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    self._selector.register(connection, selectors.EVENT_READ)
                    open_connections += 1
                elif isinstance(key.fileobj, socket.socket):
                    open_connections -= not self._hear(key.fileobj)
                else:
                    self._end(key.fd, key.data)
            if not open_connections:
                return

    def _hear(self, connection: socket.socket) -> bool:
        """Do what a message asks for; whether there was one."""
        said, streams, *_ = socket.recv_fds(connection, _MOST, 3)
        if not said:
            self._cut(connection)
            return False
        order = json.loads(said)
        if "hold" in order:
            connection.send(said)
            return True
        if "wait" in order:
            handle = os.pidfd_open(order["wait"])
            self._selector.register(handle, selectors.EVENT_READ, (order["wait"], connection))
            return True
        pid = os.fork()
        if pid == 0:
            self._close()
            _child(order, streams)
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(PermissionError):  # the child was first, and is at work
            os.setpgid(pid, pid)
        self._children[connection] = pid
        connection.send(json.dumps({"pid": pid}).encode())
        return True

    def _cut(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        pid = self._children.pop(connection, None)
        if pid is not None:  # nobody has waited for its end
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _end(self, handle: int, waiting: tuple[int, socket.socket]) -> None:
        self._selector.unregister(handle)
        os.close(handle)
        pid, connection = waiting
        if self._children.pop(connection, None) is None:
            return  # cut while it was waited for
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            connection.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())

    def _close(self) -> None:
        """Let go, in a child, of what is the server's."""
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()


def main() -> None:
    """Import everything, tell the address, serve."""
    sys.path[0] = str(Path(__file__).parents[1])  # tests/, as in the tests themselves
    gc.disable()
    _preload()
    folder = tempfile.mkdtemp(prefix="forks")  # the address of a socket must be short
    _warm_up(Path(folder))
    sys.dont_write_bytecode = True  # of a child that is killed half a file may be left
    gc.freeze()  # children share these pages and need not look through them
    gc.enable()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{folder}/socket")
    listener.listen(64)
    print(f"{folder}/socket", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        _Server(listener).serve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _preload() -> None:
    import openai
    import pandas  # noqa: F401
    import torch
    import transformers

    import pairuni_train.run  # noqa: F401

    torch.set_num_threads(1)
    _ = transformers.JanusForConditionalGeneration, transformers.AutoProcessor
    _ = openai.AsyncOpenAI(api_key="-").chat.completions


def _warm_up(folder: Path) -> None:
    """Do once what every child would do again: load what comes late, compile templates.

    Nothing here computes a gradient: after a backward pass a fork could do none of its own.
    """
    from pairuni_eval.cli import main as command

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # else a fork is warned about
    words = ["run", "--checkpoint", "tiny", "--benchmarks", "tiny-pope,tiny-geneval"]
    words += ["--limit", "2", "--out", str(folder / "run"), "--report", str(folder / "report")]
    sys.argv = ["pairuni-eval", *words]
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
        command()
    assert (folder / "report" / "report.html").is_file()


def _child(order: dict[str, Any], streams: Sequence[int]) -> None:
    """Be `python -m MODULE ARGUMENTS`; ends the process."""
    with contextlib.suppress(PermissionError):  # the server was first
        os.setpgid(0, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    if order["python"]:
        sys.executable = order["python"]
    _forget(order["anew"])
    if order["die"]:
        _arm(order["die"])
    sys.argv = [order["module"], *order["arguments"]]
    code = 0
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 - the child must not return into the server's loop
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _forget(packages: Sequence[str]) -> None:
    """Have packages imported anew, and found where PYTHONPATH says by now."""
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    if packages:
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))


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
