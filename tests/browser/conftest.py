"""One browser for all browser tests; they skip by name where there is no Chromium."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[chromium.Browser]:
    if chromium.BINARY is None or chromium.DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        made = chromium.Browser(Path(profile))
        yield made
        made.close()
