"""Serves a model to `pairuni-eval run` from the environment that the model needs.

Fill in part 1 and start this file with that environment's Python (3.8 or later; Pillow is all it
needs beside your model):

    python serve_model.py --port 8765

Then, where pairuni is installed, a file model.toml

    base_url = "http://127.0.0.1:8765/v1"

and `pairuni-eval run --checkpoint endpoint:model.toml --suite paper`. Instead of a port,
`--socket /tmp/model.sock` with base_url = "unix:/tmp/model.sock" is open to you alone.

Requests that come in at once are given to your functions together, as many as BATCH, and only such
that share their settings. Part 2 need not be changed. It listens on this machine alone.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import queue
import re
import socketserver
import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

# ---- Part 1: fill in ----------------------------------------------------------------------------

NAME = "my-model"  # what reports call it
WEIGHTS: list[str] = []  # files and folders whose content says which weights these are
DTYPE: str | None = None  # the precision it runs in, e.g. "bfloat16"
BATCH = 8  # requests that a function is given at once, at most


class ModelRequest(NamedTuple):
    """One thing to answer, draw or edit.

    `settings` are the same in all requests of a batch, and hold what was sent: temperature (0 is
    greedy), top_p and max_tokens for an answer, size (width, height) for a picture where one is
    asked for, and whatever --set or `extra` of the endpoint file added. Seeds differ: a result must
    depend on its own seed alone, and not on its neighbors in the batch.
    """

    prompt: str  # the texts, joined by blanks
    images: list[Image.Image]  # the pictures in RGB
    parts: list[Any]  # texts and pictures in their order
    seed: int  # from 0 to 2**31 - 1
    settings: dict[str, Any]


class Refused(str):
    """Return Refused("why") in place of a result that the model declines to give."""


def load() -> Any:
    """Load the model; what is returned here is given to the functions below."""
    return None


# Delete the functions of what your model cannot do.


def answer(model: Any, requests: list[ModelRequest]) -> list[str]:
    """Answer questions about images: a text for each request, in order."""
    raise NotImplementedError("fill in answer")


def draw(model: Any, requests: list[ModelRequest]) -> list[Image.Image]:
    """Draw a picture for each prompt."""
    raise NotImplementedError("fill in draw")


def edit(model: Any, requests: list[ModelRequest]) -> list[Image.Image]:
    """Change requests[i].images[0] as requests[i].prompt says."""
    raise NotImplementedError("fill in edit")


# ---- Part 2: nothing to change below ------------------------------------------------------------

FUNCTIONS = {"understand": "answer", "generate": "draw", "edit": "edit"}
PATHS = {
    "/v1/chat/completions": "understand",
    "/v1/images/generations": "generate",
    "/v1/images/edits": "edit",
}
NOT_SETTINGS = ("model", "messages", "prompt", "seed", "n", "response_format", "stream", "user")
WAIT = 0.02  # seconds that a batch waits for a further request
MOST_BYTES = 1 << 28  # of a request
SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
FIELD_NAME = re.compile(rb'\bname="([^"]*)"', re.IGNORECASE)
BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)


class Problem(Exception):
    """A request that gets no result: a status of HTTP, the words, and a code if there is one."""

    def __init__(self, status: int, words: str, code: str | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.code = status, words, code


class QueuedRequest:
    """A request on its way through a batch."""

    def __init__(self, kind: str, request: ModelRequest) -> None:
        self.kind, self.request = kind, request
        self.batch = json.dumps([kind, request.settings], sort_keys=True)
        self.done = threading.Event()
        self.result: Any = None  # a text, a picture, a Refused or an exception


def capabilities() -> list[str]:
    """What there is a function for."""
    return [kind for kind, name in FUNCTIONS.items() if name in globals()]


def weights_hash(places: list[str]) -> str | None:
    """SHA-256 over the names and contents of files; None without any."""
    files: list[tuple[str, Path]] = []
    for place in map(Path, places):
        inner = sorted(place.rglob("*")) if place.is_dir() else [place]
        if not place.exists():
            sys.exit(f"WEIGHTS: there is no {place}")
        base = place if place.is_dir() else place.parent
        files += [(path.relative_to(base).as_posix(), path) for path in inner if path.is_file()]
    whole = hashlib.sha256()
    for name, path in sorted(files):
        one = hashlib.sha256()
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                one.update(piece)
        whole.update(f"{name}\0{one.hexdigest()}\n".encode())
    return whole.hexdigest() if files else None


def work(model: Any, jobs: Any) -> None:
    """Take jobs as they come, group them, and let the functions answer; never returns."""
    held: list[QueuedRequest] = []
    while True:
        if not held:
            held.append(jobs.get())
        with contextlib.suppress(queue.Empty):
            while sum(job.batch == held[0].batch for job in held) < BATCH:
                held.append(jobs.get(timeout=WAIT))
        batch = [job for job in held if job.batch == held[0].batch][:BATCH]
        held = [job for job in held if job not in batch]
        run(model, batch)
        for job in batch:
            job.done.set()


def run(model: Any, batch: list[QueuedRequest]) -> None:
    """Give a batch to its function; what fails together is tried again alone."""
    function = globals()[FUNCTIONS[batch[0].kind]]
    try:
        results = list(function(model, [job.request for job in batch]))
        if len(results) != len(batch):
            raise ValueError(f"{len(results)} results for {len(batch)} requests")
    except Exception as failure:  # noqa: BLE001 - one request that fails must not end the others
        if len(batch) == 1:
            print(f"{function.__name__}: {failure!r}", file=sys.stderr, flush=True)
            batch[0].result = failure
            return
        for job in batch:
            run(model, [job])
        return
    for place, job in enumerate(batch):
        job.result = results[place]


def read_request(kind: str, fields: dict[str, Any], files: list[bytes]) -> ModelRequest:
    """A request from the fields of a body and the pictures that are attached to it."""
    if str(fields.get("n", 1)) != "1":
        raise Problem(400, "n: one result for each request", "unsupported_value")
    if kind == "understand":
        parts = read_messages(fields.get("messages"))
    else:
        parts = [*map(read_image, files), str(fields.get("prompt", ""))]
    settings: dict[str, Any] = {n: one for n, one in fields.items() if n not in NOT_SETTINGS}
    if settings.get("size") in (None, "auto"):
        settings.pop("size", None)
    else:
        size = SIZE.fullmatch(str(settings["size"]))
        if size is None:
            raise Problem(400, "size: WIDTHxHEIGHT is read", "unsupported_value")
        settings["size"] = (int(size.group(1)), int(size.group(2)))
    try:
        seed = int(fields.get("seed") or 0)
    except (TypeError, ValueError):
        raise Problem(400, "seed: not a whole number", "unsupported_value") from None
    images = [part for part in parts if not isinstance(part, str)]
    prompt = " ".join(part for part in parts if isinstance(part, str))
    if kind == "edit" and not images:
        raise Problem(400, "image: an edit needs a picture")
    return ModelRequest(prompt, images, parts, seed, settings)


def read_messages(messages: Any) -> list[Any]:
    """Texts and pictures of all messages, in order."""
    parts: list[Any] = []
    try:
        for message in messages:
            content: Any = message["content"]
            listed: Any = [{"text": content}] if isinstance(content, str) else content
            for part in listed:
                if part.get("type", "text") == "text":
                    parts.append(str(part["text"]))
                else:
                    head, _, data = part["image_url"]["url"].partition(",")
                    if not head.startswith("data:") or not head.endswith(";base64"):
                        raise Problem(400, "image_url: a data URL in base64 is read")
                    parts.append(read_image(base64.b64decode(data)))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Problem(400, "messages: not of the form of chat completions") from None
    return parts


def read_image(data: bytes) -> Image.Image:
    """A picture in RGB."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except Exception as failure:  # noqa: BLE001 - Pillow raises whatever comes to mind
        raise Problem(400, f"a picture cannot be read: {failure}") from None


def read_form(content_type: str, body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The fields and the attached pictures of a multipart form."""
    found = BOUNDARY.search(content_type)
    if found is None:
        raise Problem(400, "the form names no boundary")
    fields: dict[str, Any] = {}
    files: list[bytes] = []
    for part in (b"\r\n" + body).split(b"\r\n--" + found.group(1).encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = FIELD_NAME.search(head)
        if name is None:
            raise Problem(400, "a part of the form has no name")
        field = name.group(1).decode("utf-8", "replace")
        if field in ("image", "image[]"):
            files.append(content)
        else:
            fields[field] = value_of(field, content.decode("utf-8", "replace"))
    return fields, files


def value_of(field: str, text: str) -> Any:
    """What a field of a form holds: a form has texts alone, a prompt stays one."""
    if field == "prompt":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def reply_body(kind: str, result: Any) -> dict[str, Any]:
    """The body of a reply."""
    if isinstance(result, Refused):
        raise Problem(400, str(result) or "the model declined", "content_policy_violation")
    if isinstance(result, Exception):
        missing = isinstance(result, NotImplementedError)  # no request will fare better
        raise Problem(404 if missing else 422, f"{type(result).__name__}: {result}")
    if kind == "understand":
        message = {"role": "assistant", "content": str(result)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"object": "chat.completion", "model": NAME, "choices": [choice]}
    if not isinstance(result, Image.Image):
        raise Problem(422, f"{type(result).__name__} is no Pillow image")
    buffer = io.BytesIO()
    result.convert("RGB").save(buffer, format="PNG")
    return {"model": NAME, "data": [{"b64_json": base64.b64encode(buffer.getvalue()).decode()}]}


class Handler(BaseHTTPRequestHandler):
    """Turns a call into a job and its result into a reply."""

    protocol_version = "HTTP/1.1"
    timeout = 600  # seconds that a silent client may hold its connection
    jobs: Any = None
    identity: dict[str, Any] = {}

    def do_GET(self) -> None:
        """What is served."""
        if self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [self.identity]})
        else:
            self.problem(Problem(404, "no such path; there is /v1/models"))

    def do_POST(self) -> None:
        """An answer, a picture or an edit."""
        try:
            body = self.body()
            kind = PATHS.get(self.path)
            if kind is None or kind not in capabilities():
                there = [path for path, one in PATHS.items() if one in capabilities()]
                raise Problem(404, f"no such path; there is {', '.join(there)}")
            content_type = self.headers.get("Content-Type", "")
            if content_type.lower().startswith("multipart/form-data"):
                fields, files = read_form(content_type, body)
            else:
                fields, files = json_object(body), []
            job = QueuedRequest(kind, read_request(kind, fields, files))
            self.jobs.put(job)
            job.done.wait()
            self.reply(200, reply_body(kind, job.result))
        except Problem as problem:
            self.problem(problem)

    def body(self) -> bytes:
        """The bytes of the request."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Origin") is not None:  # a page in a browser may not ask
            self.close_connection = True
            raise Problem(403, "not for browsers")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True
            raise Problem(413, f"Content-Length: up to {MOST_BYTES} bytes are read")
        return self.rfile.read(int(length))

    def problem(self, problem: Problem) -> None:
        """Say in the OpenAI form why there is no result."""
        error = {"message": problem.words, "code": problem.code}
        self.reply(problem.status, {"error": error})

    def reply(self, status: int, document: dict[str, Any]) -> None:
        """Send a document."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """Who asks; over a socket there is no address."""
        return "local"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet about every call."""


def json_object(body: bytes) -> dict[str, Any]:
    """The object of a JSON body."""
    try:
        document = json.loads(body.decode("utf-8"))
    except ValueError:
        raise Problem(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise Problem(400, "the body is not an object")
    return document


class PortServer(ThreadingHTTPServer):
    """On a port of this machine."""

    daemon_threads = True
    request_queue_size = 256


class SocketServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """On a socket file, which only its owner may open."""

    daemon_threads = True
    request_queue_size = 256

    def server_bind(self) -> None:
        """Take the place of a socket that nobody serves any more."""
        path = Path(str(self.server_address))
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        before = os.umask(0o177)
        try:
            super().server_bind()
        finally:
            os.umask(before)


def main() -> None:
    """Load the model, then serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a model to pairuni-eval.")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    parser.add_argument("--socket", help="path of a socket, instead of a port")
    chosen = parser.parse_args()
    known = {"weights": weights_hash(WEIGHTS), "dtype": DTYPE}
    Handler.identity = {"id": NAME, "object": "model", "capabilities": capabilities()}
    Handler.identity.update({name: one for name, one in known.items() if one})
    Handler.jobs = queue.Queue()
    threading.Thread(target=work, args=(load(), Handler.jobs), daemon=True).start()
    try:
        if chosen.socket:
            server: Any = SocketServer(chosen.socket, Handler)
            base_url = f"unix:{Path(chosen.socket).absolute()}"
        else:
            server = PortServer(("127.0.0.1", chosen.port), Handler)
            base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    except OSError as failure:
        place = chosen.socket or f"port {chosen.port}"
        sys.exit(f"{place}: {failure.strerror}; another --port, or 0 for a free one")
    print(f'base_url = "{base_url}"', flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
