"""HTTP calls to one address: a deadline by the clock, a cap on what comes back, and no other host.

All calls run on one event loop in a thread of its own, so that whoever waits for one can stop
waiting and the call is taken down wherever it hangs: in a name that does not resolve, in a
handshake, in headers or a body that arrive a byte a second. No thread of this keeps the interpreter
from ending. Redirects are not followed: prompt, pictures and key are for the host that the user
named. Of a body at most `MOST_BYTES` are taken, counted after decompression, which is done here and
piece by piece, because a client would unpack a piece of any size at once.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

from pairuni_eval.extras import needs
from pairuni_eval.network import needs_certificates, route_to, unused_certificates, without_secrets

if TYPE_CHECKING:
    import openai

MOST_BYTES = 1 << 20  # of a body; what is asked for has a few thousand
_COMPRESSED = ("gzip", "x-gzip", "deflate")
_GZIP_OR_ZLIB = 47  # zlib finds out which


class HttpResponse(NamedTuple):
    """What came back.

    Attributes:
        status: Of HTTP.
        body: Unpacked, at most `MOST_BYTES`.
        retry_after: The header of this name.
        location: Where a redirect points to, without query and password.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    location: str | None = None

    @property
    def is_too_large(self) -> bool:
        """Whether there was more of the body."""
        return len(self.body) >= MOST_BYTES


class NoResponse(Exception):
    """A call that brought nothing back, with the reason."""


class Connection:
    """See the module docstring.

    Args:
        base_url: The address, http or https.
        secret: The key.
        timeout_s: Seconds from the beginning of a call to the last byte of its response.

    Attributes:
        address: Where it is, without a user's name, password or query.
        note: What the user should know about the environment; empty if nothing.

    Raises:
        UserError: without the client, and for a proxy or certificates of no use.
    """

    def __init__(self, base_url: str, secret: str, timeout_s: float) -> None:
        self.address = without_secrets(base_url)
        self._timeout = timeout_s
        self._route = route_to(base_url)
        self.note = unused_certificates(base_url, self._route)
        encrypted = needs_certificates(base_url, self._route)
        self._client = _client(base_url, secret, proxy=self._route.proxy, encrypted=encrypted)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._under_way: set[Future[HttpResponse]] = set()

    def complete(self, messages: list[Any], fields: Mapping[str, Any]) -> HttpResponse:
        """Ask for a chat completion; may be called from several threads at once.

        Raises:
            NoResponse: if the deadline passed, there is no connection, or `cancel` was called.
        """
        call = asyncio.run_coroutine_threadsafe(self._complete(messages, fields), self._running())
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

    async def _complete(self, messages: list[Any], fields: Mapping[str, Any]) -> HttpResponse:
        import openai

        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                messages=messages, **fields
            )
        except openai.APIStatusError as failure:
            return _response(failure.response)
        except openai.APIConnectionError as failure:
            raise NoResponse(f"no connection{self._route.words}") from failure
        return _response(raw.http_response)

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop, started with the first call."""
        with self._lock:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                loop.set_default_executor(_DaemonThreads())
                threading.Thread(target=_run, args=(loop,), name="judge calls", daemon=True).start()
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


def _client(
    base_url: str, secret: str, *, proxy: str | None, encrypted: bool
) -> openai.AsyncOpenAI:
    needs("The judge 'openai'", "judge")
    import openai

    built_on = openai.DefaultAsyncHttpxClient.__mro__[1].__module__
    http: Any = import_module(built_on.partition(".")[0])  # httpx2; httpx before openai 3
    # A connection for each call: bytes that come after a reply must not begin the next one.
    limits = http.Limits(max_connections=None, max_keepalive_connections=0)
    # Without encryption there is nothing to verify, and no certificates that must be read.
    inner = http.AsyncHTTPTransport(proxy=proxy, verify=encrypted, limits=limits)
    return openai.AsyncOpenAI(
        api_key=secret,
        base_url=base_url,
        max_retries=0,
        default_headers={"Accept-Encoding": "identity"},
        http_client=http.AsyncClient(
            transport=_capping(http, inner), timeout=None, follow_redirects=False
        ),
        timeout=None,
    )


def _capping(http: Any, inner: Any) -> Any:
    """A transport that unpacks the bodies of another one itself and cuts them off."""

    class Body(http.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, *, packed: bool) -> None:
            self._stream, self._packed = stream, packed

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left, unpack = MOST_BYTES, _unpacker(packed=self._packed)
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


def _response(raw: Any) -> HttpResponse:
    place = raw.headers.get("location") if 300 <= raw.status_code < 400 else None
    return HttpResponse(
        raw.status_code,
        raw.content,
        raw.headers.get("retry-after"),
        _redirect(str(raw.request.url), place) if place else None,
    )


def _redirect(address: str, place: str) -> str:
    """Where a redirect points to, without secrets, whatever the endpoint wrote there."""
    try:
        return without_secrets(urljoin(address, place))
    except ValueError:  # brackets that hold no address
        return "an address that cannot be read"
