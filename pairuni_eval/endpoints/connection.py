"""HTTP calls to one address: a deadline by the clock, a cap on what comes back, and no other host.

The address is http, https, or `unix:PATH`, a socket on this machine.

All calls run on one event loop in a thread of its own, so that whoever waits for one can stop
waiting and the call is taken down wherever it hangs: in a name that does not resolve, in a
handshake, in headers or a body that arrive a byte a second. No thread of this keeps the interpreter
from ending. Redirects are not followed: prompt, pictures and key are for the host that the user
named. Of a body at most so many bytes are taken, counted after decompression, which is done here
and piece by piece, because a client would unpack a piece of any size at once.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

from pairuni_eval.endpoints.settings import SOCKET
from pairuni_eval.extras import needs
from pairuni_eval.network import (
    Route,
    needs_certificates,
    route_to,
    unused_certificates,
    without_secrets,
)

if TYPE_CHECKING:
    import openai

MOST_BYTES = 1 << 20  # of a body with a text; what is asked for has a few thousand
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_GZIP_OR_ZLIB = 47  # zlib finds out which
_OVER_SOCKET = "http://localhost/v1"  # what a request over a socket names as its address


class Attachment(NamedTuple):
    """A picture that travels as a part of a form: the field's name, and the bytes of a PNG."""

    field: str
    data: bytes


class Post(NamedTuple):
    """What is sent to an endpoint: JSON, or a form where something is attached.

    Attributes:
        path: Below the address, e.g. "/chat/completions".
        fields: The fields by name.
        attachments: Pictures.
    """

    path: str
    fields: Mapping[str, Any]
    attachments: Sequence[Attachment] = ()


class HttpResponse(NamedTuple):
    """What came back.

    Attributes:
        status: Of HTTP.
        body: Unpacked, no longer than the connection takes.
        retry_after: The header of this name.
        location: Where a redirect points to, without query and password.
        is_too_large: Whether there was more of the body.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    location: str | None = None
    is_too_large: bool = False


class NoResponse(Exception):
    """A call that brought nothing back, with the reason."""


class Connection:
    """See the module docstring.

    Args:
        base_url: The address.
        secret: The key.
        timeout_s: Seconds from the beginning of a call to the last byte of its response.
        what: What needs the client, for the error where it is not installed.
        most_bytes: Of a body.

    Attributes:
        address: Where it is, without a user's name, password or query.
        note: What the user should know about the environment; empty if nothing.
        most_bytes: Of a body.

    Raises:
        UserError: without the client, and for a proxy or certificates of no use.
    """

    def __init__(
        self,
        base_url: str,
        secret: str,
        timeout_s: float,
        *,
        what: str,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        needs(what, "judge")
        self.most_bytes = most_bytes
        self._timeout = timeout_s
        socket = base_url.removeprefix(SOCKET) if base_url.startswith(SOCKET) else None
        if socket is not None:
            self.address, self.note, self._route, encrypted = base_url, "", Route(), False
            base_url = _OVER_SOCKET
        else:
            self.address = without_secrets(base_url)
            self._route = route_to(base_url)
            self.note = unused_certificates(base_url, self._route)
            encrypted = needs_certificates(base_url, self._route)
        inner = _transport(self._route.proxy, socket, encrypted=encrypted)
        self._client = _client(base_url, secret, _capping(inner, most_bytes))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._under_way: set[Future[HttpResponse]] = set()

    def send(self, post: Post) -> HttpResponse:
        """Send something; may be called from several threads at once.

        Raises:
            NoResponse: if the deadline passed, there is no connection, or `cancel` was called.
        """
        return self._wait(self._send(post))

    def read(self, path: str) -> HttpResponse:
        """Read what lies below the address; raises as `send`."""
        return self._wait(self._answered(self._client.get(path, cast_to=_http().Response)))

    def _wait(self, work: Coroutine[Any, Any, HttpResponse]) -> HttpResponse:
        call = asyncio.run_coroutine_threadsafe(work, self._running())
        with self._lock:
            self._under_way.add(call)
        try:
            return call.result(self._timeout)
        except TimeoutError as failure:
            raise NoResponse(f"no answer within {self._timeout:g} s") from failure
        except CancelledError as failure:
            raise NoResponse("interrupted") from failure
        finally:
            call.cancel()
            with self._lock:
                self._under_way.discard(call)

    def cancel(self) -> None:
        """End all calls under way."""
        with self._lock:
            calls = list(self._under_way)
        for call in calls:
            call.cancel()

    async def _send(self, post: Post) -> HttpResponse:
        form: dict[str, Any] = {}
        if post.attachments:
            files = [
                (one.field, (f"{number}.png", one.data, "image/png"))
                for number, one in enumerate(post.attachments)
            ]
            headers = {"Content-Type": "multipart/form-data"}  # the client adds what parts them
            form = {"files": files, "options": {"headers": headers}}
        sent = self._client.post(
            post.path, cast_to=_http().Response, body=dict(post.fields), **form
        )
        return await self._answered(sent)

    async def _answered(self, sent: Awaitable[Any]) -> HttpResponse:
        import openai

        try:
            return self._response(await sent)
        except openai.APIStatusError as failure:
            return self._response(failure.response)
        except openai.APIConnectionError as failure:
            raise NoResponse(f"no connection{self._route.words}") from failure

    def _response(self, raw: Any) -> HttpResponse:
        place = raw.headers.get("location") if 300 <= raw.status_code < 400 else None
        return HttpResponse(
            raw.status_code,
            raw.content,
            raw.headers.get("retry-after"),
            _redirect(str(raw.request.url), place) if place else None,
            len(raw.content) >= self.most_bytes,
        )

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop, started with the first call."""
        with self._lock:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                loop.set_default_executor(_DaemonThreads())
                threading.Thread(target=_run, args=(loop,), name="calls", daemon=True).start()
                weakref.finalize(self, _end, loop, self._client).atexit = False
            return self._loop


class _DaemonThreads(ThreadPoolExecutor):
    """A thread for each call, which nobody waits for: a name may take minutes to resolve."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                result = work(*args, **kwargs)
            except BaseException as failure:  # noqa: BLE001 - raised again by who waits
                outcome, value = future.set_exception, failure
            else:
                outcome, value = future.set_result, result  # type: ignore[assignment]
            if future.set_running_or_notify_cancel():
                outcome(value)

        threading.Thread(target=run, daemon=True).start()
        return future


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, client: openai.AsyncOpenAI) -> None:
    """Close the connections, then the loop, without waiting for either."""

    async def close() -> None:
        try:
            await client.close()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(close(), loop)


def _http() -> Any:
    """The module of HTTP that the client is built on: httpx2; httpx before openai 3."""
    import openai

    return import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])


def _transport(proxy: str | None, socket: str | None, *, encrypted: bool) -> Any:
    http = _http()
    # A connection for each call: bytes that come after a reply must not begin the next one.
    limits = http.Limits(max_connections=None, max_keepalive_connections=0)
    # Without encryption there is nothing to verify, and no certificates that must be read.
    return http.AsyncHTTPTransport(proxy=proxy, verify=encrypted, limits=limits, uds=socket)


def _client(base_url: str, secret: str, transport: Any) -> openai.AsyncOpenAI:
    import openai

    return openai.AsyncOpenAI(
        api_key=secret,
        base_url=base_url,
        max_retries=0,
        default_headers={"Accept-Encoding": "identity"},
        http_client=_http().AsyncClient(transport=transport, timeout=None, follow_redirects=False),
        timeout=None,
    )


def _capping(inner: Any, most_bytes: int) -> Any:
    """A transport that unpacks the bodies of another one itself and cuts them off."""
    http: Any = _http()

    class Body(http.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, *, packed: bool) -> None:
            self._stream, self._packed = stream, packed

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left, unpack = most_bytes, _unpacker(packed=self._packed)
            async for part in self._stream:
                for piece in unpack(part, left):
                    left -= len(piece)
                    yield piece
                if left <= 0:
                    return

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Capping(http.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            response = await inner.handle_async_request(request)
            packed = response.headers.get("content-encoding", "").strip().lower() in _COMPRESSED
            headers = [
                (name, value)
                for name, value in response.headers.raw
                if name.lower() not in (b"content-encoding", b"content-length")
            ]
            return http.Response(
                response.status_code,
                headers=headers,
                stream=Body(response.stream, packed=packed),
                extensions=response.extensions,
            )

        async def aclose(self) -> None:
            await inner.aclose()

    return Capping()


def _unpacker(*, packed: bool) -> Callable[[bytes, int], list[bytes]]:
    """Turns parts of a body into at most so many bytes; what is damaged ends there."""
    if not packed:
        return lambda part, left: [part[:left]]
    decoder = zlib.decompressobj(_GZIP_OR_ZLIB)

    def unpack(part: bytes, left: int) -> list[bytes]:
        try:
            return [decoder.decompress(part, left)] if not decoder.eof else []
        except zlib.error:
            return []

    return unpack


def _redirect(address: str, place: str) -> str:
    """Where a redirect points to, without secrets, whatever the endpoint wrote there."""
    try:
        return without_secrets(urljoin(address, place))
    except ValueError:  # brackets that hold no address
        return "an address that cannot be read"
