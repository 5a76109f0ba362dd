"""A server of files on loopback whose behavior a test writes down, and a benchmark that reads them.

A path's plan is called with how often the path was asked for before; what it returns is served.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.cards import UrlSpec


class Sent(NamedTuple):
    """What the server does with one request."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    length: int | None = None  # what Content-Length says, where that is not the body's
    pause: float = 0.0  # seconds before each tenth of the body
    hold: threading.Event | None = None  # waited for behind the first half of the body


Plan = Callable[[int], Sent]


class FileServer:
    """A running server; `plans` by path may be changed while it runs."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def serves(self, path: str, body: bytes, *, file: str | None = None) -> UrlSpec:
        """Serve a body at a path; returns how a card pins it."""
        self.plans[path] = lambda _: Sent(body)
        return pinned(self.url(path), body, file=file)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: Mapping[str, str]) -> Sent:
        with self._lock:
            before = self.asked.count(path)
            self.asked.append(path)
            self.headers.append(dict(headers))
        plan = self.plans.get(path)
        return plan(before) if plan else Sent(b"nothing here", 404)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = server.answer(self.path, dict(self.headers.items()))
                with contextlib.suppress(ConnectionError):
                    self.send_response(sent.status)
                    for name, value in sent.headers.items():
                        self.send_header(name, value)
                    length = len(sent.body) if sent.length is None else sent.length
                    self.send_header("Content-Length", str(length))
                    self.end_headers()
                    self._send(sent)

            def _send(self, sent: Sent) -> None:
                if sent.hold is not None:
                    middle = len(sent.body) // 2
                    self.wfile.write(sent.body[:middle])
                    self.wfile.flush()
                    sent.hold.wait(60)
                    self.wfile.write(sent.body[middle:])
                    return
                size = max(1, len(sent.body) // 10) if sent.pause else max(1, len(sent.body))
                for start in range(0, len(sent.body), size):
                    time.sleep(sent.pause)
                    self.wfile.write(sent.body[start : start + size])

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A running server."""
    running = FileServer()
    try:
        yield running
    finally:
        running.close()


def pinned(url: str, body: bytes, *, file: str | None = None) -> UrlSpec:
    """How a card pins a body at an address."""
    digest = hashlib.sha256(body).hexdigest()
    name = file or url.rpartition("/")[2]
    return UrlSpec(file=name, url=url, sha256=digest, bytes=len(body))


CARD = """
name = "served"
title = "Served"
summary = "Questions at pinned addresses."
version = "1"
capability = "understand"
expected = 2
unit = "prompt"
licence = "CC0-1.0"
homepage = "https://served.test"

[data]
files = ["questions.jsonl"]
revision = "r1"
"""

PROTOCOL = """
[protocols.official]
summary = "The word must be right."
source = "made up for the tests"
headline = "accuracy"
metrics = [{ name = "accuracy" }]
"""

CODE = """
from pairuni_eval.api import Benchmark, MetricValue

class Served(Benchmark):
    def samples(self, data):
        for row in data.jsonl_rows():
            yield self.item(key=row["ask"], parts=(row["ask"],), reference={"word": row["word"]})

    def gold(self, sample):
        return sample.reference["word"]

    def mark(self, answer, *, protocol, judge):
        right = answer.text == answer.sample.reference["word"]
        return [MetricValue("correct", float(right))]
"""

QUESTIONS = b'{"ask": "one", "word": "1"}\n{"ask": "two", "word": "2"}\n'


def write_benchmark(root: Path, urls: tuple[UrlSpec, ...], more: str = "") -> Path:
    """Write an importable package `served_benchmarks` with that benchmark; returns its card.

    Args:
        root: A folder of the import path.
        urls: The files of the card.
        more: Further TOML of the card, behind them.
    """
    folder = root / "served_benchmarks" / "served"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "benchmark.py").write_text(CODE)
    tables = "".join(
        f'\n[[data.urls]]\nfile = "{one.file}"\nurl = "{one.url}"\nsha256 = "{one.sha256}"\n'
        f"bytes = {one.bytes}\n"
        for one in urls
    )
    card = folder / "card.toml"
    card.write_text(CARD + tables + more + PROTOCOL)
    info = root / "served_benchmarks-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: served-benchmarks\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pairuni.benchmarks]\nserved = served_benchmarks\n")
    return card
