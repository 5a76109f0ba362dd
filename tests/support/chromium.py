"""A headless Chromium behind chromedriver, spoken to with the standard library alone."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

BINARY = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
# Otherwise a page that is left is kept, and each that is opened starts a process of its own: three
# times the processor time of a page.
_KEPT_PAGES = "BackForwardCache,ProactivelySwapBrowsingInstance"
_FLAGS = [
    "--headless=new",
    f"--disable-features={_KEPT_PAGES},Translate,OptimizationHints,MediaRouter",
    "--disable-site-isolation-trials",
    "--disable-extensions",
    "--disable-default-apps",
    "--metrics-recording-only",
    "--no-zygote",
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


class Browser:
    """One headless Chromium behind chromedriver."""

    def __init__(self, profile: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._root = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()
        options = {"binary": BINARY, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        asked = {
            "browserName": "chrome",
            "timeouts": {"script": 80_000},  # milliseconds, below `_call`'s own
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": asked}})
        self._session = f"/session/{session['sessionId']}"

    def _wait(self) -> None:
        for _ in range(300):
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
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as failure:
            raise RuntimeError(json.load(failure)["value"]["message"]) from failure

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

    def open(self, page: Path, *, width: int, dark: bool = False, at: str = "") -> None:
        """Open a page, at an address inside it; a report until its outputs are there."""
        self.show(page, width=width, dark=dark, at=at)
        self.run(_UNPACKED)

    def show(self, page: Path, *, width: int, dark: bool = False, at: str = "") -> None:
        """Open a page and wait for nothing that its script does."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        address = f"{page.resolve().as_uri()}{'#' * bool(at)}{at}"
        self._call("POST", f"{self._session}/url", {"url": "about:blank"})
        self._call("POST", f"{self._session}/url", {"url": address})
        # A tab keeps 50 places: where they are all taken, going back twice ends on an earlier page.
        self.devtools("Page.resetNavigationHistory")

    def run(self, script: str, *arguments: Any) -> Any:
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", f"{self._session}/execute/sync", body)

    def broken_pictures(self) -> list[str]:
        """Addresses of pictures that the page could not load, or whose file does not decode."""
        return [src for src, width in self.run(_PICTURES) if not width or not _decodes(src)]

    def press(self, key: str) -> None:
        """Press and release a key; see WebDriver's table of keys."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": strokes}
        self._call("POST", f"{self._session}/actions", {"actions": [keyboard]})

    def log(self, kind: str) -> list[dict[str, Any]]:
        return list(self._call("POST", f"{self._session}/se/log", {"type": kind}))

    def requests(self) -> list[str]:
        """The addresses that pages asked for, but for pictures that stand inside them."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:image/")]

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


def _decodes(src: str) -> bool:
    """Whether the whole of a picture decodes: a width is known from its first bytes alone."""
    try:
        with urllib.request.urlopen(src) as file, Image.open(file) as picture:
            picture.load()
    except (OSError, SyntaxError):  # Pillow raises SyntaxError where a PNG's chunks are broken
        return False
    return True


# Waits for the browser of outputs, if the page has one: it unpacks its rows behind the load.
_UNPACKED = """
const form = document.getElementById('filters');
return !form || new Promise(done => {
  const look = () => form.hidden ? setTimeout(look, 5) : done(true);
  look();
});
"""

# Every picture's address and width, once it has come or failed. Not `decode()`: Chromium settles
# that with a frame of the page, and a headless page may have none to draw.
_PICTURES = """
const come = one => one.complete || new Promise(done => { one.onload = one.onerror = done; });
return Promise.all([...document.images].map(async one => {
  one.loading = 'eager';
  await come(one);
  return [one.src, one.naturalWidth];
}));
"""
# Elements that stick out of the window, apart from what scrolls by itself.
OVERFLOW = """
const wide = innerWidth;
return [...document.querySelectorAll('body *')].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && box.right > wide + 1 && !one.closest('.scroll, .sr, .skip, thead');
}).map(one => one.outerHTML.slice(0, 90));
"""

# Written elements whose contrast with their ground is below WCAG's 4.5.
CONTRAST = """
const lum = text => {
  const [r, g, b] = text.match(/[\\d.]+/g).map(Number)
    .map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = one => {
  for (; one; one = one.parentElement) {
    const color = getComputedStyle(one).backgroundColor;
    if (!/rgba\\(0, 0, 0, 0\\)/.test(color)) return color;
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
