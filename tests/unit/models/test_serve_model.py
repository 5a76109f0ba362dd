"""The script of a bridge against the contract of docs/endpoint.md, called as any client would."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from PIL import Image

from pairuni_eval.models.endpoint.bridge import script

CHAT, GENERATIONS, EDITS = "/v1/chat/completions", "/v1/images/generations", "/v1/images/edits"


class Answered(NamedTuple):
    status: int
    document: dict[str, Any]

    @property
    def text(self) -> str:
        return str(self.document["choices"][0]["message"]["content"])

    @property
    def picture(self) -> Image.Image:
        data = base64.b64decode(self.document["data"][0]["b64_json"])
        return Image.open(io.BytesIO(data))


class Bridge:
    """The script as a module, served in this process."""

    def __init__(self) -> None:
        self.module: Any = ModuleType("serve_model")
        exec(compile(script(), "serve_model.py", "exec"), vars(self.module))
        self.batches: list[list[Any]] = []
        self._server: Any = None

    def start(self, *functions: Callable[[list[Any]], list[Any]]) -> None:
        """Serve with these functions in place of those that are to be filled in."""
        own = {function.__name__: function for function in functions}
        for name in self.module.FUNCTIONS.values():
            if name in own:
                setattr(self.module, name, self._noted(own[name]))
        handler = self.module.Handler
        handler.identity = {"id": "tester", "capabilities": self.module.capabilities()}
        handler.jobs = self.module.queue.Queue()
        threading.Thread(
            target=self.module.work, args=("the model", handler.jobs), daemon=True
        ).start()
        self._server = self.module.PortServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _noted(self, function: Callable[[list[Any]], list[Any]]) -> Callable[..., list[Any]]:
        def noted(model: str, requests: list[Any]) -> list[Any]:
            assert model == "the model"
            self.batches.append(requests)
            return function(requests)

        noted.__name__ = function.__name__
        return noted

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def call(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answered:
        connection = http.client.HTTPConnection(*self._server.server_address, timeout=60)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        found = Answered(response.status, json.loads(response.read()))
        connection.close()
        return found

    def post(self, path: str, **fields: Any) -> Answered:
        body = json.dumps(fields).encode()
        return self.call("POST", path, body, {"Content-Type": "application/json"})


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    made = Bridge()
    yield made
    made.stop()


def answer(requests: list[Any]) -> list[Any]:
    return [f"{one.prompt}/{len(one.images)}/{one.seed}" for one in requests]


def draw(requests: list[Any]) -> list[Any]:
    size = requests[0].settings.get("size", (2, 2))
    return [Image.new("RGB", size, one.prompt) for one in requests]


def edit(requests: list[Any]) -> list[Any]:
    return [one.images[0].rotate(90, expand=True) for one in requests]


def png(color: str, size: tuple[int, int] = (3, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def url(data: bytes) -> dict[str, Any]:
    text = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": text}}


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def form(fields: dict[str, str], *pictures: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart form; what parts it stands in no picture."""
    edge = "----edge-of-a-part"
    name = "image" if len(pictures) == 1 else "image[]"
    parts = [
        f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode()
        for key, value in fields.items()
    ]
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
    head += "Content-Type: image/png\r\n\r\n"
    parts += [head.encode() + data for data in pictures]
    body = b"".join(b"--" + edge.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    body += b"--" + edge.encode() + b"--\r\n"
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}


def test_an_answer_sees_texts_and_pictures_in_order(bridge: Bridge) -> None:
    bridge.start(answer)
    content = [{"type": "text", "text": "What"}, url(png("red")), {"type": "text", "text": "is?"}]
    fields: dict[str, Any] = {"model": "m", "temperature": 0.5, "max_tokens": 9, "seed": 12}
    found = bridge.post(CHAT, messages=[{"role": "user", "content": content}], **fields)
    assert (found.status, found.text) == (200, "What is?/1/12")
    assert found.document["choices"][0]["finish_reason"] == "stop"
    ((request,),) = bridge.batches
    assert [type(part).__name__ for part in request.parts] == ["str", "Image", "str"]
    assert request.images[0].getpixel((0, 0)) == (255, 0, 0)
    assert request.settings == {"temperature": 0.5, "max_tokens": 9}


def test_a_picture_has_the_size_that_was_asked_for(bridge: Bridge) -> None:
    bridge.start(draw)
    found = bridge.post(GENERATIONS, prompt="blue", size="5x4", seed=3, n=1)
    assert (found.picture.size, found.picture.getpixel((0, 0))) == ((5, 4), (0, 0, 255))
    assert bridge.post(GENERATIONS, prompt="blue", size="auto").picture.size == (2, 2)
    assert [batch[0].settings for batch in bridge.batches] == [{"size": (5, 4)}, {}]


def test_an_edit_gets_its_pictures_bit_by_bit(bridge: Bridge) -> None:
    bridge.start(edit)
    fields = {"prompt": "7", "seed": "5", "steps": "30", "size": "8x8"}
    body, headers = form(fields, png("red", (7, 3)))
    found = bridge.call("POST", EDITS, body, headers)
    assert found.picture.size == (3, 7)
    body, headers = form({"prompt": "turn"}, png("red"), png("lime"))
    assert bridge.call("POST", EDITS, body, headers).status == 200
    first, second = (batch[0] for batch in bridge.batches)
    assert (first.prompt, first.seed) == ("7", 5)
    assert first.settings == {"steps": 30, "size": (8, 8)}
    assert [image.getpixel((0, 0)) for image in second.images] == [(255, 0, 0), (0, 255, 0)]


def test_requests_at_once_with_equal_settings_are_one_batch(bridge: Bridge) -> None:
    bridge.module.WAIT = 5.0  # until the batch is full, however slow the machine
    bridge.module.BATCH = 4
    bridge.start(answer)
    found: dict[int, str] = {}

    def one(number: int) -> None:
        fields = {"temperature": number % 2, "seed": number}
        found[number] = bridge.post(CHAT, messages=said(f"q{number}"), **fields).text

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"q{number}/0/{number}" for number in range(8)}
    assert sorted(map(len, bridge.batches)) == [4, 4]
    assert all(len({one.settings["temperature"] for one in batch}) == 1 for batch in bridge.batches)


def test_what_fails_in_a_batch_is_tried_alone_and_costs_its_own_row(bridge: Bridge) -> None:
    bridge.module.WAIT, bridge.module.BATCH = 5.0, 2

    def answer(requests: list[Any]) -> list[Any]:
        if any(one.prompt == "bad" for one in requests):
            raise RuntimeError("out of memory")
        return ["fine" for _ in requests]

    bridge.start(answer)
    found: dict[str, Answered] = {}

    def one(prompt: str) -> None:
        found[prompt] = bridge.post(CHAT, messages=said(prompt))

    threads = [threading.Thread(target=one, args=(prompt,)) for prompt in ("good", "bad")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["good"].text == "fine"
    assert found["bad"].status == 422
    assert found["bad"].document["error"]["message"] == "RuntimeError: out of memory"


def test_a_refusal_says_so_in_the_openai_form(bridge: Bridge) -> None:
    def draw(requests: list[Any]) -> list[Any]:
        return [bridge.module.Refused("not this") for _ in requests]

    bridge.start(draw)
    found = bridge.post(GENERATIONS, prompt="q")
    assert found.status == 400
    assert found.document["error"] == {"message": "not this", "code": "content_policy_violation"}


def test_functions_that_are_not_filled_in_or_deleted_say_so(bridge: Bridge) -> None:
    del bridge.module.edit
    bridge.start(answer)
    models = bridge.call("GET", "/v1/models").document["data"]
    assert models == [{"id": "tester", "capabilities": ["understand", "generate"]}]
    found = bridge.post(GENERATIONS, prompt="q")
    assert (found.status, found.document["error"]["message"]) == (
        404,
        "NotImplementedError: fill in draw",
    )
    gone = bridge.post(EDITS, prompt="q")
    assert gone.status == 404
    assert f"there is {CHAT}, {GENERATIONS}" in gone.document["error"]["message"]


def test_results_of_another_number_or_kind_are_errors(bridge: Bridge) -> None:
    def answer(requests: list[Any]) -> list[Any]:
        return []

    def draw(requests: list[Any]) -> list[Any]:
        return ["words" for _ in requests]

    bridge.start(answer, draw)
    few, words = bridge.post(CHAT, messages=said("q")), bridge.post(GENERATIONS, prompt="q")
    assert (few.status, words.status) == (422, 422)
    assert "0 results for 1 requests" in few.document["error"]["message"]
    assert "str is no Pillow image" in words.document["error"]["message"]


BAD: list[tuple[str, bytes, dict[str, str], int]] = [
    (CHAT, b"no JSON", {}, 400),
    (CHAT, b"[]", {}, 400),
    (CHAT, b"{}", {}, 400),
    (CHAT, b'{"messages": [{"content": [{"type": "image_url"}]}]}', {}, 400),
    (CHAT, json.dumps({"messages": [{"content": [url(b"no picture")]}]}).encode(), {}, 400),
    (
        CHAT,
        b'{"messages": [{"content": [{"type": "x", "image_url": {"url": "http://a/b.png"}}]}]}',
        {},
        400,
    ),
    (GENERATIONS, b'{"prompt": "red", "n": 2}', {}, 400),
    (GENERATIONS, b'{"prompt": "red", "size": "wide"}', {}, 400),
    (GENERATIONS, b'{"prompt": "red", "seed": "x"}', {}, 400),
    (GENERATIONS, b'{"prompt": "red"}', {"Origin": "http://page"}, 403),
    (EDITS, *form({"prompt": "q"}), 400),
    (EDITS, b"", {"Content-Type": "multipart/form-data"}, 400),
    ("/v1/other", b"{}", {}, 404),
]


@pytest.mark.parametrize(("path", "body", "headers", "status"), BAD)
def test_what_is_not_of_the_contract_is_refused_in_words(
    bridge: Bridge, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    bridge.start(answer, draw, edit)
    found = bridge.call("POST", path, body, headers)
    assert found.status == status
    assert found.document["error"]["message"]
    assert not bridge.batches


def test_the_weights_are_hashed_by_name_and_content(bridge: Bridge, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    (folder / "vae").mkdir(parents=True)
    (folder / "b.bin").write_bytes(b"b")
    (folder / "vae" / "a.bin").write_bytes(b"a")
    of = {name: hashlib.sha256(name[-5:-4].encode()).hexdigest() for name in ("b.bin", "vae/a.bin")}
    lines = "".join(f"{name}\0{of[name]}\n" for name in sorted(of))
    whole = bridge.module.weights_hash([str(folder)])
    assert whole == hashlib.sha256(lines.encode()).hexdigest()
    single = bridge.module.weights_hash([str(folder / "b.bin")])
    assert single == hashlib.sha256(f"b.bin\0{of['b.bin']}\n".encode()).hexdigest()
    assert bridge.module.weights_hash([]) is None
    with pytest.raises(SystemExit, match="there is no"):
        bridge.module.weights_hash([str(folder / "gone")])
