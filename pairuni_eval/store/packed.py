"""A finished run in one file, for runs that are shipped with a package: a zip.

It holds what comparing and reporting need: the run's card, its tables, the cards of its benchmarks,
what its training left, and pictures that it gave. The pictures it was shown are those of every
run of the same samples; plan, journal and times stay behind. The same run gives the same bytes. A
packed run is unpacked once into the user's cache, into a folder named by the file's hash, and is a
run folder there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from pairuni_eval.cache import cache_folder, make_in_cache
from pairuni_eval.errors import UserError, writing
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun, decode_cell
from pairuni_eval.store.training import GRADIENTS, METRICS, SETTINGS, TRAINING
from pairuni_eval.store.write import write_whole

if TYPE_CHECKING:
    import pandas as pd

_ALWAYS = (layout.RUN_FILE, layout.COMPLETE)
_TABLES = (*(f"{name}.parquet" for name in (*layout.TABLES, layout.OPINIONS)), layout.FIGURES)
_TRAINING = tuple(f"{TRAINING}/{name}" for name in (METRICS, GRADIENTS, SETTINGS))


def pack(folder: Path, target: Path, *, pictures: Collection[str] | None = None) -> None:
    """Write a finished run as one file.

    Args:
        folder: The run.
        target: The file.
        pictures: Ids of the pictures to keep of those that the run gave; None keeps all.

    Raises:
        UserError: if it is no finished run.
    """
    run = StoredRun(folder)
    names = [*_ALWAYS, *_TABLES, *_TRAINING]
    names += [f"{layout.CARDS}/{name}.json" for name in run.card.benchmarks]
    kept = given_pictures(run.outputs) if pictures is None else set(pictures)
    names += sorted(str(run.image_path(image).relative_to(folder)) for image in kept)
    with tempfile.TemporaryFile() as whole:
        with ZipFile(whole, "w", ZIP_DEFLATED) as archive:
            for name in names:
                if (folder / name).is_file():
                    entry = ZipInfo(name)  # without the file's own time
                    entry.compress_type = ZIP_DEFLATED
                    archive.writestr(entry, (folder / name).read_bytes())
        whole.seek(0)
        with writing(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, whole.read())


def given_pictures(outputs: pd.DataFrame) -> set[str]:
    """Ids of the pictures that outputs hold."""
    parts = (part for cell in outputs["parts"].dropna() for part in decode_cell(cell))
    return {part["image"] for part in parts if part.get("image")}


def unpacked(path: Path) -> Path:
    """The run folder of a packed run, unpacked on first use; what is no file stays as it is.

    Raises:
        UserError: if the file is broken, or the cache cannot be written.
    """
    if not path.is_file():
        return path
    data = path.read_bytes()
    folder = cache_folder() / "runs" / f"{path.stem}-{hashlib.sha256(data).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    with writing(str(folder)):
        make_in_cache(
            folder.parent, use="Packed baselines are unpacked into", instead="--baseline none"
        )
        half = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
        try:
            with ZipFile(path) as archive:
                if layout.RUN_FILE not in archive.namelist():
                    raise BadZipFile(f"it has no {layout.RUN_FILE}")
                archive.extractall(half)
            half.rename(folder)
        except BadZipFile as failure:
            raise UserError(
                f"{path} is no packed run: {failure}.",
                hint="Name a run folder or a packed run. If it came with pairuni, reinstall it.",
            ) from failure
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return folder
