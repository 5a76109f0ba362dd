"""Files at pinned addresses: whatever the server does, the file is the card's or is not there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.file_server import FileServer, Sent, file_server, pinned

from pairuni_eval import download, progress
from pairuni_eval.cards import UrlSpec
from pairuni_eval.download import PinnedFiles, fetch_urls
from pairuni_eval.errors import UserError

BODY = bytes(range(256)) * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(download, "_PAUSES_S", (0.0, 0.0))
    with file_server() as running:
        yield running


def bring(place: Path, *urls: UrlSpec) -> int:
    return fetch_urls(PinnedFiles("acme", urls), place)


def refused(place: Path, *urls: UrlSpec) -> UserError:
    """The refusal of a download that leaves nothing behind."""
    with pytest.raises(UserError) as caught:
        bring(place, *urls)
    assert [path for path in place.rglob("*") if path.is_file()] == []
    assert "Traceback" not in caught.value.message
    return caught.value


def test_a_file_arrives_whole_and_is_not_asked_for_again(
    server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    urls = (server.serves("/a.bin", BODY), server.serves("/b", b"b", file="deep/er/b.txt"))
    assert bring(tmp_path, *urls) == 2
    files = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*.*")}
    assert files == {"a.bin": BODY, "deep/er/b.txt": b"b"}
    assert capfd.readouterr().err.splitlines() == [
        "acme: a.bin: 10,240 bytes from 127.0.0.1",
        "acme: deep/er/b.txt: 1 bytes from 127.0.0.1",
    ]
    assert bring(tmp_path, *urls) == 0
    assert server.asked == ["/a.bin", "/b"]
    (tmp_path / "a.bin").write_bytes(BODY[:-1] + b"x")  # as long as it was
    assert bring(tmp_path, *urls) == 1
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert server.asked == ["/a.bin", "/b", "/a.bin"]


def test_another_file_is_refused_with_both_hashes(server: FileServer, tmp_path: Path) -> None:
    url = server.serves("/a.bin", BODY)
    other = bytes(reversed(BODY))
    server.plans["/a.bin"] = lambda _: Sent(other)
    told = refused(tmp_path, url).message
    assert "Cannot fetch a.bin of 'acme' from http://127.0.0.1" in told
    assert f"SHA-256 is {pinned(url.url, other).sha256[:12]}" in told
    assert f"the card expects {url.sha256[:12]}" in told
    assert len(server.asked) == 1  # it will not be another one the next time


def test_no_more_is_read_than_the_card_says(server: FileServer, tmp_path: Path) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda _: Sent(BODY * 1000, length=10**12)
    assert "more came than the 10,240 bytes" in refused(tmp_path, url).message


def test_a_compressed_body_is_not_unpacked(server: FileServer, tmp_path: Path) -> None:
    import gzip

    url = server.serves("/a.bin", BODY)
    packed = gzip.compress(BODY)
    server.plans["/a.bin"] = lambda _: Sent(packed, headers={"Content-Encoding": "gzip"})
    refused(tmp_path, url)
    assert {headers["Accept-Encoding"] for headers in server.headers} == {"identity"}


@pytest.mark.parametrize("broken", [Sent(BODY[:5000], length=len(BODY)), Sent(BODY[:5000])])
def test_what_is_cut_off_is_asked_for_again(
    server: FileServer, tmp_path: Path, broken: Sent
) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda before: broken if before < 2 else Sent(BODY)
    assert bring(tmp_path, url) == 1
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert len(server.asked) == 3
    (tmp_path / "a.bin").unlink()
    server.plans["/a.bin"] = lambda _: broken
    refused(tmp_path, url)
    assert len(server.asked) == 6


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (429, 3), (503, 3), (206, 1)])
def test_a_status_is_named_and_the_passing_ones_are_tried_again(
    server: FileServer, tmp_path: Path, status: int, tries: int
) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda _: Sent(BODY, status)
    assert f"the server answers {status}" in refused(tmp_path, url).message
    assert len(server.asked) == tries


def test_redirects_are_followed_a_few_times(server: FileServer, tmp_path: Path) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda _: Sent(status=302, headers={"Location": "/b.bin"})
    server.plans["/b.bin"] = lambda _: Sent(status=307, headers={"Location": server.url("/c.bin")})
    server.serves("/c.bin", BODY)
    assert bring(tmp_path, url) == 1
    assert server.asked == ["/a.bin", "/b.bin", "/c.bin"]
    server.plans["/c.bin"] = lambda _: Sent(status=302, headers={"Location": "/a.bin"})
    (tmp_path / "a.bin").unlink()
    assert "more than 5 redirects" in refused(tmp_path, url).message


@pytest.mark.parametrize(
    "location", ["http://acme.invalid/a.bin", "//acme.invalid/a.bin", "file:///etc/passwd"]
)
def test_a_redirect_to_elsewhere_is_not_followed(
    server: FileServer, tmp_path: Path, location: str
) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda _: Sent(status=302, headers={"Location": location})
    assert "which is not followed" in refused(tmp_path, url).message


@pytest.mark.parametrize(
    ("location", "follows"),
    [
        ("https://cdn.test/a?token=1", "https://cdn.test/a?token=1"),
        ("/b", "https://acme.test/b"),
        ("http://acme.test/a", None),
        ("https://127.0.0.1/a", None),
        ("http://localhost:80/a", None),
        ("ftp://acme.test/a", None),
    ],
)
def test_from_https_only_https_is_followed(location: str, follows: str | None) -> None:
    if follows is not None:
        assert download._next_address("https://acme.test/a", location) == follows
        return
    with pytest.raises(download._Failed, match="is not followed"):
        download._next_address("https://acme.test/a", location)


def test_a_slow_server_has_a_deadline(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda _: Sent(BODY, pause=0.02)
    assert bring(tmp_path, url) == 1  # slow alone is no fault
    (tmp_path / "a.bin").unlink()
    monkeypatch.setattr(download, "_LEAST_S", 0.05)
    monkeypatch.setattr(download, "_SLOWEST_BYTES_S", 1e9)
    assert "too slow: " in refused(tmp_path, url).message


def test_a_silent_server_is_left(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda _: Sent(BODY, pause=2.0)
    monkeypatch.setattr(download, "_SILENCE_S", 0.1)
    assert "no answer in time" in refused(tmp_path, url).message
    assert len(server.asked) == 3


def test_without_network_both_ways_are_said(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = pinned(f"http://127.0.0.1:{taken.getsockname()[1]}/at/a.bin", BODY)
        told = refused(tmp_path, url)
    assert "no connection to 127.0.0.1" in told.message
    assert told.hint is not None
    assert "pairuni-eval fetch --benchmarks acme --to DIR" in told.hint
    assert f"put into DIR/acme/ by hand: a.bin of {url.url}" in told.hint


def test_offline_mode_asks_nothing_of_the_network(tmp_path: Path) -> None:
    told = refused(tmp_path, pinned("https://acme.invalid/a.bin", BODY))
    assert "HF_HUB_OFFLINE is set" in told.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7897/"),
        ("HTTPS_PROXY", "http://127.0.0.1:9\n"),
        ("SSL_CERT_FILE", "/nonexistent.pem"),
    ],
)
def test_a_variable_of_no_use_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: FileServer,
    name: str,
    value: str,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for proxy in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.lower(), raising=False)
    monkeypatch.setenv(name, value)
    told = refused(tmp_path, pinned("https://acme.invalid/a.bin", BODY))
    assert name in told.message
    # A server on this machine is reached without proxies and certificates.
    assert bring(tmp_path, server.serves("/a.bin", BODY)) == 1


def test_nothing_is_written_through_a_link(server: FileServer, tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    kept = elsewhere / "kept.txt"
    kept.write_text("kept")
    (place / "a.bin").symlink_to(kept)
    (place / "deep").symlink_to(elsewhere)
    assert bring(place, server.serves("/a.bin", BODY)) == 1
    assert kept.read_text() == "kept"
    assert not (place / "a.bin").is_symlink()
    with pytest.raises(UserError, match=r"a link to .*elsewhere, which is not in"):
        bring(place, server.serves("/b", b"b", file="deep/b.bin"))
    assert [path.name for path in elsewhere.iterdir()] == ["kept.txt"]


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = server.serves("/a.bin", BODY)
    server.plans["/a.bin"] = lambda _: Sent(BODY, pause=0.05)
    monkeypatch.setattr(progress, "EVERY", 0.02)
    assert bring(tmp_path / "lines", url) == 1
    first, *later = capfd.readouterr().err.splitlines()
    assert first == "acme: a.bin: 10,240 bytes from 127.0.0.1"
    assert any(" of 10,240 bytes" in line or "/10,240 bytes" in line for line in later), later
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal then
    assert bring(tmp_path / "bar", url) == 1
    shown = capfd.readouterr().err
    assert "acme: a.bin" in shown and "━" in shown
