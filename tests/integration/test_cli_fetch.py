"""`pairuni-eval fetch`: real downloads from a hub on loopback, into the layout of --data."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.fork_server import run_captured

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "datasets/acme/prompts": {
        "prompts/one.jsonl": b'{"prompt": "a red circle"}\n',
        "prompts/two.jsonl": b'{"prompt": "a blue square"}\n',
        "prompts/old/three.jsonl": b'{"prompt": "not meant"}\n',
        "README.md": b"not meant",
    },
    "acme/detector": {"model.safetensors": b"weights", "model.bin": b"not meant"},
}

CARD = """
name = "acme-pictures"
title = "Acme pictures"
summary = "Prompts from a hub, graded by a detector from it."
version = "1"
capability = "generate"
expected = 2
unit = "prompt"
licence = "CC0-1.0"
homepage = "https://acme.test"

[data]
files = ["prompts/[ot]*.jsonl"]
hub = "acme/prompts"

[weights.detector]
files = ["*.safetensors"]
hub = "acme/detector"
summary = "Acme's detector"
licence = "CC0-1.0"
DIGEST

[protocols.official]
summary = "Every picture is right."
source = "made up for the tests"
headline = "accuracy"
metrics = [{ name = "accuracy" }]
"""

CODE = """
from pairuni_eval.api import Benchmark, MetricValue

class Pictures(Benchmark):
    def samples(self, data):
        for row in data.jsonl_rows():
            yield self.item(key=row["prompt"], parts=(row["prompt"],), reference={})

    def mark(self, answer, *, protocol, judge):
        return [MetricValue("correct", 1.0)]
"""


class Hub(NamedTuple):
    """A hub on loopback, and what was asked of it."""

    url: str
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    """What the hub's client needs: revisions, file lists, files."""

    asked: list[str]

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].removeprefix("/")
        name = next((n for n in FILES if n in path.replace("api/models/", "api/")), "")
        if not name:
            self.send_error(404)
        elif "/revision/" in path:
            self.send(json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode(), body)
        elif "/tree/" in path:
            listed = [
                {"type": "file", "path": key, "size": len(data), "oid": digest(data)[:40]}
                for key, data in FILES[name].items()
            ]
            self.send(json.dumps(listed).encode(), body)
        else:
            self.send(FILES[name][path.partition(f"/resolve/{COMMIT}/")[2]], body)

    def send(self, data: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{digest(data)[:40]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if body:
            self.wfile.write(data)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    asked: list[str] = []
    handler = type("Asked", (Handler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Hub(f"http://127.0.0.1:{server.server_port}", asked)
        server.shutdown()
        thread.join()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A package with one benchmark, found through its entry point."""
    root = tmp_path / "site"
    folder = root / "acme_hub" / "acme_pictures"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "card.toml").write_text(CARD.replace("DIGEST", ""))
    (folder / "benchmark.py").write_text(CODE)
    info = root / "acme_hub-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-hub\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pairuni.benchmarks]\nacme-hub = acme_hub\n")
    return root


@pytest.fixture
def command(tmp_path: Path, plugin: Path, hub: Hub, fork_server: str) -> Any:
    """`pairuni-eval ARGUMENTS` in a process of its own, with that package and that hub."""

    def command(*arguments: object, online: bool = True) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(plugin),
            "HF_HOME": str(tmp_path / "home"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0" if online else "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return run_captured(fork_server, arguments, environment, tmp_path, anew=ANEW)

    return command


# The hub's client reads its variables when it is imported, and the product imports it.
ANEW = ("huggingface_hub", "pairuni_eval", "pairuni_registry")
ASKED = ("fetch", "--benchmarks", "acme-pictures,tiny-pope", "--to", "there")


def test_what_is_fetched_is_what_data_reads(command: Any, hub: Hub, tmp_path: Path) -> None:
    ran = command(*ASKED)
    assert ran.returncode == 0, ran.stderr
    below = tmp_path / "there" / "acme-pictures"
    found = {
        str(path.relative_to(below)): path.read_bytes()
        for path in below.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }
    data, weights = FILES["datasets/acme/prompts"], FILES["acme/detector"]
    assert found == {
        "prompts/one.jsonl": data["prompts/one.jsonl"],
        "prompts/two.jsonl": data["prompts/two.jsonl"],
        "weights/detector/model.safetensors": weights["model.safetensors"],
    }
    manifest = json.loads((tmp_path / "there" / "manifest.json").read_text())
    part = manifest["folders"]["acme-pictures/weights/detector"]
    assert (part["hub"], part["revision"], part["commit"]) == ("acme/detector", "unpinned", COMMIT)
    assert part["files"] == {
        "model.safetensors": {"bytes": 7, "sha256": digest(weights["model.safetensors"])}
    }
    assert "tiny-pope: nothing to fetch: the data is made here" in ran.stdout
    assert f"acme-pictures: 2 files, 0.0 MB of acme/prompts at {COMMIT[:12]}" in ran.stdout
    following = [line for line in ran.stdout.splitlines() if line.startswith("Next: ")]
    assert following[0].endswith("--benchmarks acme-pictures,tiny-pope --data there")

    # Without network: what is there is enough, for the data as well as for fetch itself.
    hub.asked.clear()
    checked = command("validate", "acme-pictures", "--data", "there", online=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 of 2 that the card expects" in checked.stdout
    again = command(*ASKED, online=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("complete, not fetched again") == 2
    assert hub.asked == []

    # A file that was damaged is fetched again, the others are not.
    (below / "prompts" / "two.jsonl").write_bytes(b"{}\n")
    assert command(*ASKED).returncode == 0
    assert (below / "prompts" / "two.jsonl").read_bytes() == data["prompts/two.jsonl"]
    resolved = [path for path in hub.asked if "/resolve/" in path]
    assert [path.rpartition("/")[2] for path in resolved] == ["two.jsonl"]


@pytest.mark.parametrize(
    ("name", "pattern", "asked"),
    [
        ("prompts/o/../../../evil.jsonl", "prompts/**/*.jsonl", ASKED),
        ("/tmp/evil.jsonl", "**/*.jsonl", ASKED),
        ("../evil.jsonl", "**/*.jsonl", ("validate", "acme-pictures")),
    ],
)
def test_a_repository_that_names_files_outside_is_refused(
    command: Any,
    plugin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    pattern: str,
    asked: tuple[str, ...],
) -> None:
    monkeypatch.setitem(FILES["datasets/acme/prompts"], name, b"evil")
    card = plugin / "acme_hub" / "acme_pictures" / "card.toml"
    card.write_text(card.read_text().replace("prompts/[ot]*.jsonl", pattern))
    ran = command(*asked)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert "acme/prompts at revision unpinned" in ran.stderr and name in ran.stderr
    assert list(tmp_path.rglob("evil.jsonl")) == []
    assert not Path("/tmp/evil.jsonl").exists()


@pytest.mark.parametrize("link", ["acme-pictures", "acme-pictures/.cache"])
def test_the_hubs_client_does_not_write_through_a_link(
    command: Any, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = tmp_path / "there" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    ran = command(*ASKED)
    assert ran.returncode == 2
    assert "nothing is written there" in ran.stderr
    assert list(outside.iterdir()) == []


def test_a_half_that_is_a_link_is_refused(command: Any, tmp_path: Path) -> None:
    """The hub's client appends to the halves that it finds, under names one can know before."""
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    half = tmp_path / "there/acme-pictures/.cache/huggingface/download/prompts/one.incomplete"
    half.parent.mkdir(parents=True)
    half.symlink_to(kept)
    ran = command(*ASKED)
    assert ran.returncode == 2
    assert "is a link: the hub's client would write through it" in ran.stderr
    assert kept.read_text() == "kept"


@pytest.mark.parametrize(
    ("variable", "value", "asked"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7897/", ASKED),
        ("SSL_CERT_FILE", "/nonexistent.pem", ("validate", "acme-pictures")),
    ],
)
def test_a_variable_of_no_use_is_named(
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    asked: tuple[str, ...],
) -> None:
    monkeypatch.setenv(variable, value)
    ran = command(*asked)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert f"Error: {variable} " in ran.stderr


def test_without_network_nothing_is_pretended(command: Any, tmp_path: Path) -> None:
    ran = command(*ASKED, online=False)
    assert ran.returncode == 2
    assert "Error: Cannot fetch the dataset acme/prompts at revision unpinned" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "there" / "manifest.json").exists()


def test_a_file_that_is_not_the_cards_is_refused(command: Any, plugin: Path) -> None:
    card = plugin / "acme_hub" / "acme_pictures" / "card.toml"
    wrong = f'sha256 = {{ "model.safetensors" = "{"0" * 64}" }}'
    card.write_text(CARD.replace("DIGEST", wrong))
    ran = command(*ASKED)
    assert ran.returncode == 2
    assert "model.safetensors: SHA-256 is" in ran.stderr


def test_two_benchmarks_with_one_detector_fetch_it_once(
    command: Any, hub: Hub, plugin: Path, tmp_path: Path
) -> None:
    folder = plugin / "acme_hub" / "acme_pictures"
    shutil.copytree(folder, folder.with_name("acme_long"))
    card = folder.with_name("acme_long") / "card.toml"
    card.write_text(card.read_text().replace('"acme-pictures"', '"acme-long"'))
    ran = command("fetch", "--benchmarks", "acme-pictures,acme-long", "--to", "there")
    assert ran.returncode == 0, ran.stderr
    assert "acme-long/weights/detector: 1 files, 0.0 MB as in acme-pictures/" in ran.stdout
    copied = tmp_path / "there" / "acme-long" / "weights" / "detector" / "model.safetensors"
    assert copied.read_bytes() == b"weights"
    assert sum("/resolve/" in path and "safetensors" in path for path in hub.asked) == 1


def test_a_pattern_without_a_file_is_named(command: Any, plugin: Path) -> None:
    card = plugin / "acme_hub" / "acme_pictures" / "card.toml"
    card.write_text(CARD.replace("DIGEST", "").replace("*.safetensors", "*.onnx"))
    ran = command(*ASKED)
    assert ran.returncode == 2
    assert "acme/detector at revision unpinned has no file '*.onnx'" in ran.stderr


def test_what_is_not_on_the_hub_is_left_to_the_user(command: Any, plugin: Path) -> None:
    card = plugin / "acme_hub" / "acme_pictures" / "card.toml"
    elsewhere = CARD.replace('hub = "acme/prompts"\n', "").replace('hub = "acme/detector"\n', "")
    card.write_text(elsewhere.replace("DIGEST", ""))
    ran = command(*ASKED)
    assert ran.returncode == 1
    assert "acme-pictures: not on the hub: put prompts/[ot]*.jsonl of https://acme" in ran.stdout
    assert f"into {Path('there/acme-pictures')} by hand" in ran.stdout
    assert "acme-pictures/weights/detector: never fetched; to grade with them put" in ran.stdout


@pytest.mark.parametrize("more", [[], ["--suite", "tiny", "--benchmarks", "pope"]])
def test_a_suite_or_benchmarks_must_be_named(cli: Any, more: list[str]) -> None:
    ran = cli("fetch", "--to", "there", *more)
    assert ran.code == 2
    assert "either --suite or --benchmarks" in ran.error


def test_an_unknown_suite_offers_the_nearest(cli: Any) -> None:
    ran = cli("fetch", "--to", "there", "--suite", "papper")
    assert ran.code == 2
    assert "Did you mean 'paper'" in ran.error


def test_a_damaged_manifest_is_named(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    ran = cli("fetch", "--to", tmp_path, "--benchmarks", "pope")
    assert ran.code == 2
    assert "manifest.json" in ran.error
    assert "Delete it" in ran.next


def test_a_manifest_that_names_files_elsewhere_removes_nothing(
    command: Any, hub: Hub, tmp_path: Path
) -> None:
    assert command(*ASKED).returncode == 0
    own = tmp_path / "own.txt"
    own.write_text("mine")
    path = tmp_path / "there" / "manifest.json"
    manifest = json.loads(path.read_text())
    files = manifest["folders"]["acme-pictures"]["files"]
    files["../../own.txt"] = next(iter(files.values()))
    path.write_text(json.dumps(manifest))
    command(*ASKED)
    assert own.read_text() == "mine"
