"""Files at pinned addresses: streamed to a temporary name, checked by SHA-256, put in place.

What a card pins is read over https (plain http on this machine only), never past the size that the
card gives, with a deadline that grows with that size. A redirect is followed a few times and to
https alone. What was cut off, or refused for the moment, is asked for again; what is complete on
the disk is not asked for at all. A kill loses the file under way and no other: its half is removed
by the next call.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import urljoin, urlsplit

from pairuni_eval import __version__
from pairuni_eval.cards import UrlSpec
from pairuni_eval.errors import UserError, writing
from pairuni_eval.network import (
    explained,
    is_loopback,
    needs_certificates,
    route_to,
    without_secrets,
)

if TYPE_CHECKING:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # its own HTTP client

_HALF = ".fetching-"  # how the names of files under way begin
_REDIRECTS = 5
_PAUSES_S = (1.0, 3.0)  # before the second and the third try
_CONNECT_S, _SILENCE_S = 15.0, 30.0
_LEAST_S, _SLOWEST_BYTES_S = 60.0, 20_000  # a file may take 60 s and a second per 20 kB
_BUSY = (408, 425, 429, 500, 502, 503, 504)

Step = Callable[[int], None]  # hears how many bytes of the file are there


class _Reading(NamedTuple):
    """Who hears of the bytes, and until when (monotonic clock) they may come."""

    step: Step
    deadline: float


class PinnedFiles(NamedTuple):
    """Whose files are fetched: for messages, and for what to do without network."""

    benchmark: str
    urls: tuple[UrlSpec, ...]

    @property
    def other_ways(self) -> str:
        """How the files come here without this machine's network."""
        by_hand = "; ".join(f"{one.file} of {one.url}" for one in self.urls)
        return (
            f"Where there is network: pairuni-eval fetch --benchmarks {self.benchmark} --to DIR; "
            f"copy DIR here and give --data DIR. Or put into DIR/{self.benchmark}/ by hand: "
            f"{by_hand}."
        )


class _Failed(Exception):
    """A file did not come; `again` if another try may bring it."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def is_whole(place: Path, url: UrlSpec) -> bool:
    """Whether a file is there, to the last bit."""
    path = place / url.file
    if not path.is_file() or path.stat().st_size != url.bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == url.sha256


def fetch_urls(source: PinnedFiles, place: Path) -> int:
    """Put those of a benchmark's files into a folder that are not there; progress on stderr.

    The caller keeps other processes from the folder meanwhile.

    Args:
        source: The benchmark and its files.
        place: The folder.

    Returns:
        How many files were asked for.

    Raises:
        UserError: for a file that does not come or is not the card's, with the other ways to it.
    """
    missing = [url for url in source.urls if not is_whole(place, url)]
    with writing(str(place)):
        for url in missing:
            folder = (place / url.file).parent
            check_inside(place, folder)
            folder.mkdir(parents=True, exist_ok=True)
            _remove_halves(folder)
    for url in missing:
        with _shown(source.benchmark, url) as step:
            try:
                _bring(url, place / url.file, step)
            except _Failed as failure:
                raise UserError(
                    f"Cannot fetch {url.file} of '{source.benchmark}' from "
                    f"{without_secrets(url.url)}: {failure}.",
                    hint=source.other_ways,
                ) from failure
    return len(missing)


@contextmanager
def hub_connection() -> Iterator[None]:
    """Where the hub's client reaches for the network: a variable of no use to it is a sentence.

    Raises:
        UserError: for such a variable, and for a connection that fails at a proxy.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        yield
        return
    with explained(constants.ENDPOINT):
        yield


def check_inside(root: Path, folder: Path) -> None:
    """Check that a folder lies in another one, whatever links are on the way.

    Raises:
        UserError: if a link leads out.
    """
    top, means = root.resolve(), folder.resolve()
    if means != top and top not in means.parents:
        raise UserError(
            f"{folder} is, or lies behind, a link to {means}, which is not in {root}: nothing is "
            "written there.",
            hint="Remove the link, or name the folder that it means.",
        )


def _bring(url: UrlSpec, target: Path, step: Step) -> None:
    """Fetch one file, in a few tries."""
    _refuse_offline(url.url)
    for pause in (*_PAUSES_S, None):
        try:
            with _half(target) as (half, stream):
                _read(url, stream, step)
                stream.flush()
                os.fsync(stream.fileno())
                half.replace(target)
            return
        except _Failed as failure:
            if pause is None or not failure.again:
                raise
            time.sleep(pause)


def _refuse_offline(url: str) -> None:
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode() and not is_loopback(url):
        raise _Failed("HF_HUB_OFFLINE is set, so nothing is asked of the network")


@contextmanager
def _half(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside the target, gone afterward unless it was moved; no link is followed."""
    path = target.with_name(f"{_HALF}{os.getpid()}-{secrets.token_hex(4)}")
    with writing(str(target)):
        stream = path.open("xb")
    try:
        with stream, writing(str(target)):
            yield path, stream
    finally:
        path.unlink(missing_ok=True)


def _remove_halves(folder: Path) -> None:
    """Remove what a killed call left."""
    for path in folder.glob(f"{_HALF}*"):
        path.unlink(missing_ok=True)


def _read(url: UrlSpec, out: BinaryIO, step: Step) -> None:
    """Read one file to its end, through redirects, and compare it."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # its own HTTP client

    deadline = time.monotonic() + _LEAST_S + url.bytes / _SLOWEST_BYTES_S
    address = url.url
    try:
        for _ in range(_REDIRECTS + 1):
            with _client(address) as client, client.stream("GET", address) as response:
                if not response.has_redirect_location:
                    _take(response, url, out, _Reading(step, deadline))
                    return
                address = _next_address(address, response.headers["Location"])
    except httpx.ConnectError as failure:
        raise _Failed(_unconnected(address, failure)) from failure
    except httpx.TimeoutException as failure:
        raise _Failed("no answer in time", again=True) from failure
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        words = str(failure).rstrip(".") or type(failure).__name__
        raise _Failed(words, again=isinstance(failure, httpx.TransportError)) from failure
    raise _Failed(f"more than {_REDIRECTS} redirects")


def _client(url: str) -> httpx.Client:
    """A client that goes the way of the environment; UserError where a variable is of no use."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    route = route_to(url)
    encrypted = needs_certificates(url, route)
    made: httpx.Client = httpx.Client(
        proxy=route.proxy,
        trust_env=False,  # the route has read the variables, for this address alone
        # What is plain all the way has nothing to verify, and reading certificates takes a while.
        verify=httpx.create_ssl_context(trust_env=True) if encrypted else False,
        follow_redirects=False,
        timeout=httpx.Timeout(_SILENCE_S, connect=_CONNECT_S),
        headers={"Accept-Encoding": "identity", "User-Agent": f"pairuni/{__version__}"},
    )
    return made


def _unconnected(address: str, failure: Exception) -> str:
    route = route_to(address)
    words = f"no connection to {urlsplit(address).hostname}{route.words}: {failure}".rstrip(".")
    return f"{words}. {route.hint(address)}".rstrip(". ")


def _next_address(address: str, location: str) -> str:
    """Where a redirect leads: to https, or on this machine where the file is on this machine."""
    following = urljoin(address, location)
    local = is_loopback(address)
    if is_loopback(following) != local or (not local and urlsplit(following).scheme != "https"):
        raise _Failed(f"it is redirected to {without_secrets(following)}, which is not followed")
    return following


def _take(response: httpx.Response, url: UrlSpec, out: BinaryIO, reading: _Reading) -> None:
    """Write the body to a file and compare it with what the card says."""
    if response.status_code != 200:
        reason = f"the server answers {response.status_code} {response.reason_phrase}".strip()
        raise _Failed(reason, again=response.status_code in _BUSY)
    digest, size = hashlib.sha256(), 0
    for block in response.iter_raw():
        size += len(block)
        if size > url.bytes:
            raise _Failed(f"more came than the {url.bytes:,} bytes that the card expects")
        if time.monotonic() > reading.deadline:
            raise _Failed(f"too slow: {size:,} of {url.bytes:,} bytes when time was up")
        digest.update(block)
        out.write(block)
        reading.step(size)
    if size < url.bytes:
        raise _Failed(f"it ended after {size:,} of {url.bytes:,} bytes", again=True)
    if digest.hexdigest() != url.sha256:
        raise _Failed(
            f"SHA-256 is {digest.hexdigest()[:12]}..., the card expects {url.sha256[:12]}...: this "
            "is another version of the file"
        )


@contextmanager
def _shown(name: str, url: UrlSpec) -> Iterator[Step]:
    """Say on stderr what is fetched: a bar on a terminal, else lines."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn

    from pairuni_eval.progress import Progress

    console = Console(stderr=True, highlight=False)
    label = f"{name}: {url.file}"
    if not console.is_terminal:
        host = urlsplit(url.url).hostname
        console.print(f"{label}: {url.bytes:,} bytes from {host}", markup=False, soft_wrap=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=url.bytes, unit="bytes")
        yield lambda size: progress.update(task, completed=size)
