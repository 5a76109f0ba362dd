"""`fetch` and first use of a benchmark whose files are at pinned addresses, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.file_server import QUESTIONS, FileServer, Sent, file_server, pinned, write_benchmark

from pairuni_eval import catalog
from pairuni_eval.cards import read_card
from pairuni_eval.errors import UserError

MORE = b"the judge's words"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, server: FileServer) -> Path:
    """An import path with the benchmark `served`: its questions and a file beside them."""
    urls = (server.serves("/at/questions.jsonl", QUESTIONS), server.serves("/words.txt", MORE))
    return write_benchmark(tmp_path / "site", urls).parents[2]


@pytest.fixture
def served(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The benchmark is installed in this process, with a cache of its own; returns the card."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(site.parent / "cache"))
    yield site / "served_benchmarks" / "served" / "card.toml"
    for name in [name for name in sys.modules if name.startswith("served_benchmarks")]:
        del sys.modules[name]


@pytest.fixture
def start(site: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `pairuni-eval ARGUMENTS` in a process of its own, with that benchmark."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        environment = os.environ | {
            "PYTHONPATH": str(site),
            "XDG_CACHE_HOME": str(site.parent / "cache"),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pairuni_eval.cli", *map(str, arguments)],
            env=environment,
            cwd=site.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.01)


def site_of(server: FileServer) -> str:
    """How the server is named as a place of data."""
    return server.url("").removeprefix("http://")


ASKED = ("fetch", "--benchmarks", "served", "--to", "there")


def test_fetched_files_stand_in_the_manifest_and_serve_offline(
    cli: Any, served: Path, server: FileServer, tmp_path: Path
) -> None:
    ran = cli(*ASKED)
    assert ran.code == 0, ran.err
    assert f"served: 2 files, 0.0 MB of {site_of(server)} at r1\n" in ran.out
    assert (tmp_path / "there/served/questions.jsonl").read_bytes() == QUESTIONS
    manifest = json.loads((tmp_path / "there/manifest.json").read_text())
    part = manifest["folders"]["served"]
    assert (part["hub"], part["revision"], part["commit"]) == (None, "r1", "r1")
    assert part["urls"]["words.txt"] == server.url("/words.txt")
    assert part["files"]["words.txt"]["bytes"] == len(MORE)
    assert ran.next == "pairuni-eval run --checkpoint tiny --benchmarks served --data there"

    again = cli(*ASKED)
    assert "served: complete, not fetched again" in again.out
    assert server.asked == ["/at/questions.jsonl", "/words.txt"]
    server.close()
    checked = cli("validate", "served", "--data", "there")
    assert checked.code == 0, checked.out + checked.err
    assert "2 of 2 that the card expects" in checked.out
    assert cli(*ASKED).code == 0


def test_first_use_fetches_into_the_cache(
    cli: Any, served: Path, server: FileServer, tmp_path: Path, write_script: Any
) -> None:
    def where() -> str | None:
        rows = json.loads(cli("list", "benchmarks", "--json").out)
        return next(row["data"] for row in rows if row["name"] == "served")

    assert where() is None
    script = write_script({"one": "1", "two": "3"})
    ran = cli("run", "--checkpoint", script, "--benchmarks", "served", "--out", "run")
    assert ran.code == 0, ran.err
    assert f"served: questions.jsonl: {len(QUESTIONS)} bytes from 127.0.0.1" in ran.err
    stored = json.loads((tmp_path / "run" / "run.json").read_text())["benchmarks"]["served"]
    assert (stored["origin"], stored["revision"]) == (f"url:{site_of(server)}", "r1")
    assert f"data url:{site_of(server)} at revision r1" in next(
        tmp_path.glob("reports/*/report.md")
    ).read_text(encoding="utf-8")
    assert where() == f"url:{site_of(server)}"
    assert cli("validate", "served").code == 0
    assert server.asked == ["/at/questions.jsonl", "/words.txt"]

    # What was damaged in the cache is fetched again.
    (kept,) = (tmp_path / "cache").rglob("questions.jsonl")
    kept.write_bytes(QUESTIONS.replace(b"one", b"uno"))
    assert cli("validate", "served").code == 0
    assert kept.read_bytes() == QUESTIONS
    assert server.asked[2:] == ["/at/questions.jsonl"]
    # With --data nothing is fetched, and what the cache has is not taken.
    (tmp_path / "empty").mkdir()
    lacking = cli("validate", "served", "--data", "empty")
    assert lacking.code == 2
    assert "Looked for questions.jsonl in empty/served, empty" in lacking.error
    assert len(server.asked) == 3


def test_a_cache_that_cannot_be_made_is_named(
    cli: Any, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    ran = cli("validate", "served")
    assert ran.code == 2
    assert "The files of 'served' are kept in" in ran.error
    assert "XDG_CACHE_HOME" in ran.next and "--data DIR" in ran.next


def test_without_network_both_ways_are_said(
    cli: Any, served: Path, server: FileServer, tmp_path: Path
) -> None:
    server.close()
    for asked in (ASKED, ("validate", "served")):
        ran = cli(*asked)
        assert ran.code == 2
        assert "Cannot fetch questions.jsonl of 'served' from http://127.0.0.1" in ran.error
        assert "no connection to 127.0.0.1" in ran.error
        assert "pairuni-eval fetch --benchmarks served --to DIR" in ran.next
        assert f"questions.jsonl of {server.url('/at/questions.jsonl')}" in ran.next
    assert not (tmp_path / "there" / "manifest.json").exists()


def test_a_killed_fetch_goes_on_with_the_file_that_was_lost(
    start: Callable[..., subprocess.Popen[str]], server: FileServer, tmp_path: Path
) -> None:
    hold = threading.Event()
    server.plans["/words.txt"] = lambda before: Sent(MORE, hold=None if before else hold)
    process = start(*ASKED)
    below = tmp_path / "there" / "served"
    wait_until(lambda: "/words.txt" in server.asked)
    assert len(list(below.glob(".fetching-*"))) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    hold.set()
    assert (below / "questions.jsonl").read_bytes() == QUESTIONS
    assert not (below / "words.txt").exists()
    process = start(*ASKED)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert server.asked == ["/at/questions.jsonl", "/words.txt", "/words.txt"]
    assert sorted(path.name for path in below.iterdir()) == ["questions.jsonl", "words.txt"]


def test_two_processes_fetch_every_file_once(
    start: Callable[..., subprocess.Popen[str]], server: FileServer, tmp_path: Path
) -> None:
    hold = threading.Event()
    server.plans["/at/questions.jsonl"] = lambda _: Sent(QUESTIONS, hold=hold)
    first = start(*ASKED)
    wait_until(lambda: len(server.asked) == 1)
    second = start(*ASKED)
    assert second.stdout is not None
    assert "another process fetches into it" in second.stdout.readline()
    hold.set()
    for process in (first, second):
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert server.asked == ["/at/questions.jsonl", "/words.txt"]
    assert (tmp_path / "there/served/words.txt").read_bytes() == MORE


BY_HAND = """
[data.by_hand]
files = ["**/pictures/*.png"]
source = "the pictures of served.test"
"""


def test_what_only_hands_can_bring_is_told(
    cli: Any, served: Path, server: FileServer, tmp_path: Path
) -> None:
    card = served.read_text()
    served.write_text(card.replace("\n[protocols", f"{BY_HAND}\n[protocols"))
    ran = cli(*ASKED)
    assert ran.code == 1
    assert "served: 2 files" in ran.out
    assert "cannot be fetched: put the pictures of served.test, into there/served by" in ran.out
    asked = len(server.asked)
    first = cli("validate", "served")  # the cache could never be complete
    assert first.code == 2
    assert "Only by hand: the pictures of served.test" in first.next
    assert len(server.asked) == asked
    (tmp_path / "there/served/unpacked/pictures").mkdir(parents=True)
    (tmp_path / "there/served/unpacked/pictures/1.png").touch()
    ran = cli(*ASKED)
    assert ran.code == 0
    assert "served: there by hand: the pictures of served.test" in ran.out


def test_what_a_suite_only_brings_does_not_fail_it(
    cli: Any, served: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = served.read_text()
    served.write_text(card.replace("\n[protocols", f"{BY_HAND}\n[protocols"))
    suite = catalog.find_suite("smoke")
    import msgspec

    found = msgspec.structs.replace(suite, also_fetched=("served",))
    monkeypatch.setattr(catalog, "find_suite", lambda name: found)
    ran = cli("fetch", "--suite", "smoke", "--to", "there")
    assert ran.code == 0, ran.err
    assert "cannot be fetched: put the pictures" in ran.out
    assert (tmp_path / "there/served/questions.jsonl").is_file()


def test_a_checkout_that_is_there_is_left_alone(
    cli: Any, served: Path, server: FileServer, tmp_path: Path
) -> None:
    served.write_text(served.read_text().replace('"questions.jsonl"]', '"**/questions.jsonl"]'))
    own = tmp_path / "there" / "served" / "prompts" / "questions.jsonl"
    own.parent.mkdir(parents=True)
    own.write_bytes(QUESTIONS)
    ran = cli(*ASKED)
    assert ran.code == 0, ran.err
    assert "served: put there by hand already" in ran.out
    assert server.asked == []


def test_nothing_leaves_the_folder(
    cli: Any, served: Path, server: FileServer, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "served").symlink_to(outside)
    ran = cli(*ASKED)
    assert ran.code == 2
    assert "nothing is written there" in ran.error
    assert list(outside.iterdir()) == [] and server.asked == []


@pytest.mark.parametrize(
    ("folder", "name"), [("served", "../../evil"), ("/tmp", "evil"), ("a/../..", "evil")]
)
def test_a_manifest_that_names_files_outside_is_refused(
    cli: Any, served: Path, tmp_path: Path, folder: str, name: str
) -> None:
    held = {
        "hub": None,
        "revision": "r1",
        "commit": "r1",
        "patterns": ["questions.jsonl"],
        "files": {name: {"bytes": 0, "sha256": "0" * 64}},
    }
    (tmp_path / "there").mkdir()
    text = json.dumps({"format": "pairuni-fetch/1", "folders": {folder: held}})
    (tmp_path / "there" / "manifest.json").write_text(text)
    ran = cli(*ASKED)
    assert ran.code == 2
    assert "manifest.json: '" in ran.error and "is not a plain name" in ran.error
    assert "Delete it" in ran.next


# The card


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('file = "words.txt"', 'file = "../words.txt"'), "'../words.txt' is not a plain name"),
        (('file = "words.txt"', 'file = "/words.txt"'), "'/words.txt' is not a plain name"),
        (('file = "words.txt"', 'file = "a//b"'), "'a//b' is not a plain name"),
        (('file = "words.txt"', "file = 'a\\b'"), "is not a plain name"),
        (('file = "words.txt"', 'file = "C:b"'), "is not a plain name"),
        (('file = "words.txt"', 'file = "questions.jsonl"'), "two urls have one file"),
        (("http://127.0.0.1", "http://acme.test"), "is not https"),
        (("http://127.0.0.1", "file:///tmp"), "is not https"),
        (("http://127.0.0.1", "https://me:word@acme.test"), "is not a plain address"),
        (('revision = "r1"', 'revision = "unpinned"'), "urls need a revision"),
        (('revision = "r1"', 'revision = "r1"\nhub = "acme/set"'), "exclude each other"),
        (("bytes = 17", "bytes = 0"), "bytes"),
        (("bytes = 17", "bites = 17"), "unknown key 'bites'"),
        (("bytes = 17\n", ""), "bytes"),
        (("sha256 = ", "# "), "sha256"),
    ],
)
def test_a_card_is_strict_about_addresses(site: Path, change: tuple[str, str], told: str) -> None:
    path = site / "served_benchmarks" / "served" / "card.toml"
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UserError) as caught:
        read_card(path)
    assert str(path) in caught.value.message
    assert told in caught.value.message


def test_a_card_says_where_its_files_come_from(site: Path, tmp_path: Path) -> None:
    at_commit = pinned("https://raw.test/owner/name/c0ffee/deep/questions.jsonl", QUESTIONS)
    shutil.rmtree(site)
    path = write_benchmark(tmp_path / "site", (at_commit,))
    path.write_text(path.read_text().replace('"r1"', '"c0ffee"'))
    assert read_card(path).data.source == "url:raw.test/owner/name"
    assert read_card(path).data.published == {"questions.jsonl": at_commit.sha256}
