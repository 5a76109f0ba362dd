"""Pictures that all tests of this folder ask about."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.asked_pictures import drawn
from support.tiny_painters import FaultyPainter, oracle


@pytest.fixture(scope="package")
def painter_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of tiny-geneval of which six pictures in ten are right."""
    return drawn(tmp_path_factory.mktemp("painter") / "run", FaultyPainter("painter", oracle))
