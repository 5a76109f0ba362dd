"""A stand-in of the hub's HTTP API on loopback: takes repositories and commits, keeps every byte.

Small files come inside the commit, as the hub wants them; those whose name ends like weights or
tables go through Git LFS (batch, upload, pointer in the commit). Whoever does not show the token is
refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = (".safetensors", ".parquet")
_API = re.compile(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)/(tree|preupload|commit)/main")
_BATCH = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch")


class HubServer:
    """A running hub.

    Attributes:
        files: Content by repository and path.
        kinds: What kind each repository is.
        asked: Method and path of every request.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.files: dict[str, dict[str, bytes]] = {}
        self.kinds: dict[str, str] = {}
        self.private: dict[str, bool] = {}
        self.asked: list[str] = []
        self.messages: list[str] = []
        self._objects: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of a request that has shown the token."""
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/objects/"):
            oid = path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != oid:
                return 400, {"error": "another content"}
            self._objects[oid] = body
            return 200, {}
        if batch := _BATCH.fullmatch(path):
            return self._batch(json.loads(body)) if batch[2] in self.files else (404, {})
        found = _API.fullmatch(path)
        if found is None or self.kinds.get(found[2]) != found[1].removesuffix("s"):
            return 404, {"error": "Repository not found"}
        return getattr(self, f"_{found[3]}")(found[2], body)

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        repo = (
            f"{asked['organization']}/{asked['name']}" if "organization" in asked else asked["name"]
        )
        if repo in self.files:
            return 409, {"error": "You already created this repo", "url": f"{self.url}/{repo}"}
        kind = asked.get("type") or "model"
        self.kinds[repo], self.files[repo] = kind, {".gitattributes": b"*"}
        self.private[repo] = bool(asked.get("private")) or asked.get("visibility") == "private"
        return 200, {"url": f"{self.url}/{'datasets/' * (kind == 'dataset')}{repo}"}

    def _tree(self, repo: str, _: bytes) -> tuple[int, Any]:
        return 200, [
            {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
            for path, data in self.files[repo].items()
        ]

    def _preupload(self, _: str, body: bytes) -> tuple[int, Any]:
        return 200, {
            "files": [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in json.loads(body)["files"]
            ]
        }

    def _batch(self, asked: dict[str, Any]) -> tuple[int, Any]:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/objects/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}

    def _commit(self, repo: str, body: bytes) -> tuple[int, Any]:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.messages.append(value["summary"])
            elif entry["key"] == "file":
                assert value["encoding"] == "base64"
                self.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                self.files[repo][value["path"]] = self._objects[value["oid"]]
        oid = hashlib.sha256(body).hexdigest()[:40]
        prefix = "datasets/" * (self.kinds[repo] == "dataset")
        url = f"{self.url}/{prefix}{repo}/commit/{oid}"
        return 200, {"commitUrl": url, "commitOid": oid, "success": True}


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = self.headers.get("Content-Length")
            body = self.rfile.read(int(length)) if length else self._chunks()
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            upload = path.startswith("/objects/")  # whose address is the permission
            known = self.headers.get("Authorization") == f"Bearer {hub.token}"
            status, found = (
                hub.answer(self.command, path, body)
                if known or upload
                else (401, {"error": f"Invalid credentials {self.headers.get('Authorization')}"})
            )
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _chunks(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return b""
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def hub_server(token: str) -> Iterator[HubServer]:
    """A running hub that knows one token."""
    running = HubServer(token)
    try:
        yield running
    finally:
        running.close()
