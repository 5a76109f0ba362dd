"""A block that keeps in what foreign code prints and sets.

lmms-eval's tasks print tables while they score, its logger reports every category, datasets shows
bars of its own; importing lmms-eval silences all warnings and lets Pillow take a truncated image
for whole, in the entire process. Inside a block the output is dropped and truncated images fail;
after it everything is as it was before.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from PIL import ImageFile


@contextmanager
def quiet(modules: Iterable[str] = ()) -> Iterator[None]:
    """Run foreign code.

    Args:
        modules: Whose log lines are dropped, beside lmms-eval's own.
    """
    import datasets
    from loguru import logger

    names = {"lmms_eval", *modules}
    bars = datasets.is_progress_bar_enabled()
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    for name in names:
        logger.disable(name)
    datasets.disable_progress_bars()
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        if bars:
            datasets.enable_progress_bars()
        for name in names:
            logger.enable(name)
