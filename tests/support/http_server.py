"""An OpenAI-compatible endpoint on loopback whose behavior a test writes down.

A plan is called with the prompt and with how often that prompt came before; what it returns is
served, as a chat completion or as a picture, by what was asked. The endpoint counts the replies it
gave and the calls that were under way at once. `models` is what it lists, if anything.
"""

from __future__ import annotations

import base64
import contextlib
import email
import io
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, NamedTuple

from PIL import Image

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


class Served(NamedTuple):
    """What the endpoint does with one call."""

    text: Any = ""  # the content of the message
    picture: Image.Image | None = None  # that was drawn
    status: int = 200
    finish: str | None = "stop"
    delay: float = 0.0
    headers: Mapping[str, str] = {}
    body: bytes | None = None  # instead of a chat completion
    refusal: str | None = None
    error: Mapping[str, str] = {}
    usage: Any = USAGE
    write: Callable[[BinaryIO], None] | None = None  # writes everything, headers too, by itself


Plan = Callable[[str, int], Served]


class Call(NamedTuple):
    """One call as it came in."""

    prompt: str
    images: tuple[Image.Image, ...]
    request: dict[str, Any]
    authorization: str | None
    path: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # as many may knock at once


class Loopback:
    """A running endpoint; `plan` may be replaced while it runs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.models: list[dict[str, Any]] | None = None
        self.calls: list[Call] = []
        self.times: list[float] = []
        self.replied: Counter[tuple[str, str]] = Counter()  # by model and prompt
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, call: Call) -> tuple[Served, bytes]:
        with self._lock:
            seen = sum(earlier.prompt == call.prompt for earlier in self.calls)
            self.calls.append(call)
            self.times.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        served = self.plan(call.prompt, seen)
        time.sleep(served.delay)
        with self._lock:
            self._at_once -= 1
            # Who waits for this longer than a time-out is gone.
            replied = served.status == 200 and not served.delay and served.write is None
            self.replied[call.request["model"], call.prompt] += replied
        return served, served.body if served.body is not None else _body(call, served)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or every reply waits 40 ms for an acknowledgement

            def do_GET(self) -> None:
                self.send_response(404 if endpoint.models is None else 200)
                body = json.dumps({"object": "list", "data": endpoint.models}).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                read = _form if "multipart" in self.headers["Content-Type"] else _call
                call = read(self.headers["Content-Type"], body)
                place = {"path": self.path, "authorization": self.headers["Authorization"]}
                served, body = endpoint.serve(call._replace(**place))
                with contextlib.suppress(ConnectionError):
                    if served.write is not None:
                        served.write(self.wfile)
                        self.close_connection = True
                        return
                    self.send_response(served.status)
                    for name, value in served.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def drips(before: bytes) -> Callable[[BinaryIO], None]:
    """Writes some bytes, then one blank after the other until the other side has gone."""

    def write(stream: BinaryIO) -> None:
        stream.write(before)
        while True:
            stream.write(b" ")
            stream.flush()
            time.sleep(0.05)

    return write


def floods(head: bytes, part: bytes, times: int) -> Callable[[BinaryIO], None]:
    """Writes a head and one part many times."""

    def write(stream: BinaryIO) -> None:
        stream.write(head)
        for _ in range(times):
            stream.write(part)

    return write


def bomb(megabytes: int) -> Callable[[BinaryIO], None]:
    """Writes blanks that were compressed to about a thousandth."""
    packer = zlib.compressobj(9, wbits=31)
    blanks = b" " * (1 << 20)
    packed = b"".join(packer.compress(blanks) for _ in range(megabytes)) + packer.flush()
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    return floods(head, packed, 1)


@contextmanager
def endpoint(plan: Plan) -> Iterator[Loopback]:
    """A running endpoint."""
    running = Loopback(plan)
    try:
        yield running
    finally:
        running.close()


def _call(_: str, body: bytes) -> Call:
    """A call in JSON: for a picture, or for words."""
    request = json.loads(body)
    if "prompt" in request:
        return Call(request["prompt"], (), request, None)
    content = request["messages"][-1]["content"]  # behind a system message, if any
    if isinstance(content, str):
        return Call(content, (), request, None)
    texts, images = [], []
    for part in content:
        if part["type"] == "text":
            texts.append(part["text"])
            continue
        kind, _, data = part["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        images.append(Image.open(io.BytesIO(base64.b64decode(data))))
    return Call(" ".join(texts), tuple(images), request, None)


def _form(content_type: str, body: bytes) -> Call:
    """A call in a form, read by another reader than the product's."""
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\n\n" + body)
    request: dict[str, Any] = {}
    images = []
    for part in message.get_payload():
        assert not isinstance(part, str)
        name, data = (
            part.get_param("name", header="content-disposition"),
            part.get_payload(decode=True),
        )
        assert isinstance(name, str) and isinstance(data, bytes)
        if part.get_filename() is None:
            request[name] = data.decode()
        else:
            assert part.get_content_type() == "image/png"
            request[name] = request.get(name, 0) + 1
            images.append(Image.open(io.BytesIO(data)))
    return Call(request["prompt"], tuple(images), request, None)


def _body(call: Call, served: Served) -> bytes:
    if served.status != 200:
        return json.dumps(
            {"error": {"message": f"status {served.status}", **served.error}}
        ).encode()
    if served.picture is not None:
        buffer = io.BytesIO()
        served.picture.save(buffer, format="PNG")
        drawn = {"b64_json": base64.b64encode(buffer.getvalue()).decode()}
        return json.dumps({"created": 0, "data": [drawn]}).encode()
    message = {"role": "assistant", "content": served.text, "refusal": served.refusal}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": call.request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": served.finish}],
            "usage": served.usage,
        }
    ).encode()
