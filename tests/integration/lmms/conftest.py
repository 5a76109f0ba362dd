"""These tests need lmms-eval; without it they are skipped by name. `nox -s lmms` installs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support import upstream

COUNT = 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("lmms_eval") is None:
        here = Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="lmms-eval is not installed: nox -s lmms"))


@pytest.fixture(scope="module")
def images(photographs: dict[str, bytes]) -> list[bytes]:
    return upstream.pictures(photographs, 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, images: list[bytes]) -> Path:
    """Thirty rows of each task's dataset, beside a file of another split."""
    root = upstream.write_tasks(tmp_path_factory.mktemp("data"), images, COUNT)
    adversarial = root / "lmms/pope_pop/Full/adversarial-00000-of-00001.parquet"
    upstream.write(adversarial, "pope", list(upstream.pope(images, 6)))
    return root
