"""The report in a real browser: no console error, no broken picture, nothing asked of the network,
nothing wider than the window. Speaks the WebDriver protocol to chromedriver with the standard
library alone; skips by name where there is no Chromium.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import example_run as example
import pytest

from pairuni_eval.report.build import build_report
from pairuni_eval.store.read import StoredRun

_BINARY = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
_DRIVER = shutil.which("chromedriver")
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]

pytestmark = pytest.mark.skipif(
    _BINARY is None or _DRIVER is None, reason="chromium and chromedriver are not installed"
)


class Browser:
    """One headless Chromium behind chromedriver."""

    def __init__(self, profile: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._root = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [str(_DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()
        options = {"binary": _BINARY, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        asked = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": asked}})
        self._session = f"/session/{session['sessionId']}"

    def _wait(self) -> None:
        for _ in range(100):
            try:
                self._call("GET", "/status")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver did not start")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._root + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.load(answer)["value"]

    def close(self) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._process.terminate()
            self._process.wait(timeout=20)

    def devtools(self, command: str, **params: Any) -> Any:
        return self._call(
            "POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": params}
        )

    def open(self, page: Path, *, width: int, dark: bool = False) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        self._call("POST", f"{self._session}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str) -> Any:
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def log(self, kind: str) -> list[dict[str, Any]]:
        return list(self._call("POST", f"{self._session}/se/log", {"type": kind}))

    def requests(self) -> list[str]:
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, path: Path) -> None:
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return innerWidth")
        shot = self.devtools(
            "Page.captureScreenshot",
            captureBeyondViewport=True,
            clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path: Path) -> None:
        printed = self.devtools("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(printed["data"]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        made = Browser(Path(profile))
        yield made
        made.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    benchmarks = [*example.cards(96), example.geneval_card(96)]
    ours = example.write_run(root / "a", benchmarks=benchmarks, count=30)
    other = example.write_run(root / "b", name="other", skill=0.4, count=30)
    return build_report(StoredRun(ours), root / "out", {"random pair": StoredRun(other)})


OVERFLOW = """
const wide = innerWidth;
return [...document.querySelectorAll('body *')].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && box.right > wide + 1 && !one.closest('.scroll, .sr, .skip, thead');
}).map(one => one.outerHTML.slice(0, 90));
"""
BROKEN = """
return Promise.all([...document.images].map(one => one.decode().then(() => null, () => one.src)))
  .then(found => found.filter(Boolean));
"""


def test_page_is_quiet_whole_and_local(browser: Browser, report: Path) -> None:
    browser.log("browser"), browser.log("performance")
    browser.open(report, width=1280)
    assert browser.run("return document.images.length") > 20
    assert browser.run(BROKEN) == []
    assert browser.run("return [...document.images].filter(i => !i.naturalWidth).length") == 0
    assert browser.log("browser") == []
    asked = browser.requests()
    assert asked and all(url.startswith("file://") for url in asked)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, report: Path, width: int) -> None:
    browser.open(report, width=width)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run("return innerWidth") == width
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOW) == []


def test_model_text_cannot_run(browser: Browser, report: Path) -> None:
    browser.open(report, width=1280)
    assert browser.run("return document.scripts.length") == 0
    assert "<script>alert(1)</script>" in browser.run("return document.body.innerText")


def test_policy_forbids_the_network(browser: Browser, report: Path) -> None:
    browser.open(report, width=1280)
    browser.log("browser")
    browser.run("document.body.append(Object.assign(new Image(), {src: 'http://evil.test/x.png'}))")
    time.sleep(0.3)
    assert ["Content Security Policy" in entry["message"] for entry in browser.log("browser")] == [
        True
    ]


CONTRAST = """
const lum = text => {
  const [r, g, b] = text.match(/[\\d.]+/g).map(Number)
    .map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = one => {
  for (; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor;
    if (!/rgba\\(0, 0, 0, 0\\)/.test(colour)) return colour;
  }
  return 'rgb(255, 255, 255)';
};
const poor = new Set();
for (const one of document.querySelectorAll('main *, header *')) {
  const written = [...one.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!written || one.closest('svg')) continue;
  const [a, b] = [lum(getComputedStyle(one).color), lum(ground(one))].sort((x, y) => y - x);
  if ((a + .05) / (b + .05) < 4.5) poor.add(one.className + ' ' + one.tagName);
}
return [...poor];
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser: Browser, report: Path, dark: bool) -> None:
    browser.open(report, width=1280, dark=dark)
    assert browser.run(CONTRAST) == []


def test_prints(browser: Browser, report: Path, tmp_path: Path) -> None:
    browser.open(report, width=1280)
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
