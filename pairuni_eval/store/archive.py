"""An archive of a finished run in one file, a zip, for runs shipped with a package.

It holds what comparing and reporting need: the run's card, its tables, the cards of its benchmarks,
what its training left, and pictures that it gave. The pictures it was shown are those of every
run of the same samples; plan, journal and times stay behind. The same run gives the same bytes. A
packed run is unpacked once into the user's cache, into a folder named by the file's hash, and is a
run folder there, compared with its COMPLETE whenever it is read.

The file may come from anywhere: nothing of it is written outside that folder, and no more of it
than `LARGEST` bytes, or than `RATIO` times the file for one that claims to be packed more tightly.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import tempfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from pairuni_eval.cache import make_in_cache, unpacked_runs
from pairuni_eval.errors import UserError, writing
from pairuni_eval.places import is_file
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun, decode_cell
from pairuni_eval.store.training import GRADIENTS, METRICS, SETTINGS, TRAINING
from pairuni_eval.store.write import write_whole

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 8 * 2**30  # bytes of a packed run, unpacked
RATIO = 200  # how many times larger than the file it may be, beyond the first SMALL bytes
SMALL = 64 * 2**20
MEMBERS = 200_000

_ALWAYS = (layout.RUN_FILE, layout.COMPLETE)
_TABLES = (
    *(f"{name}.parquet" for name in (*layout.TABLES, layout.OPINIONS)),
    layout.EXTERNAL_METRICS,
)
_TRAINING = tuple(f"{TRAINING}/{name}" for name in (METRICS, GRADIENTS, SETTINGS))
_BLOCK = 2**20
_ENCRYPTED = 0x1
_RULES = b"pairuni-unpacked/2"  # a folder that was unpacked under other rules is not used
# What a damaged archive raises, whichever of its members is damaged in whichever way.
_BROKEN = (
    BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


def pack(folder: Path, target: Path, *, pictures: Collection[str] | None = None) -> None:
    """Write a finished run as one file.

    Args:
        folder: The run.
        target: The file.
        pictures: Ids of the pictures to keep of those that the run gave; None keeps all.

    Raises:
        UserError: if it is not a finished run, or a file of it is changed.
    """
    run = StoredRun(folder)
    run.verify()
    names = [*_ALWAYS, *_TABLES, *_TRAINING]
    names += [f"{layout.CARDS}/{name}.json" for name in run.card.benchmarks]
    kept = given_pictures(run.outputs) if pictures is None else set(pictures)
    names += sorted(_sound(run, kept))
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


def _sound(run: StoredRun, pictures: Collection[str]) -> Iterator[str]:
    """The places of those pictures that the run has.

    Raises:
        UserError: for one that is changed.
    """
    for image in pictures:
        path = run.image_path(image)
        if path.is_file():
            trouble = run.pictures.trouble(image)
            if trouble:
                raise UserError(f"{path}: {trouble}.", hint=run.way_back)
            yield str(path.relative_to(run.folder))


def given_pictures(outputs: pd.DataFrame) -> set[str]:
    """Ids of the pictures that outputs hold."""
    parts = (part for cell in outputs["parts"].dropna() for part in decode_cell(cell))
    return {part["image"] for part in parts if part.get("image")}


def unpacked(path: Path) -> Path:
    """The run folder of a packed run, unpacked on first use; what is not a file stays as it is.

    Raises:
        UserError: if the file is broken or no packed run, or the cache cannot be written.
    """
    if not is_file(path):
        return path
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    name = hashlib.sha256(_RULES + digest).hexdigest()[:16]
    folder = unpacked_runs() / f"{path.stem}-{name}"
    if folder.is_dir():
        return folder
    with writing(str(folder)):
        make_in_cache(
            folder.parent, use="Packed baselines are unpacked into", instead="--baseline none"
        )
        half = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
        try:
            _unpack(path, half)
            half.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return folder


def _unpack(path: Path, folder: Path) -> None:
    """Write the members of an archive into an empty folder.

    Raises:
        UserError: if it is not a packed run, is broken, or would not stay in the folder or in size.
    """
    room = min(LARGEST, max(SMALL, RATIO * path.stat().st_size))
    try:
        with ZipFile(path) as archive:
            for member in _members(path, archive):
                target = folder / member.filename
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as stream:
                    room -= _copy(path, source, stream, room)
    except _BROKEN as failure:
        _refuse(path, str(failure) or type(failure).__name__, failure)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as failure:
        _refuse(path, "two of its members have one name", failure)
    except OSError as failure:
        if failure.errno is not None:  # the disk's; bzip2 has none for data that is not a stream
            raise
        _refuse(path, str(failure), failure)


def _members(path: Path, archive: ZipFile) -> list[ZipInfo]:
    """The members of a packed run, all of them harmless by name and kind."""
    members = archive.infolist()
    if layout.RUN_FILE not in archive.namelist():
        _refuse(path, f"it has no {layout.RUN_FILE}")
    if len(members) > MEMBERS:
        _refuse(path, f"it has {len(members)} members, more than {MEMBERS}")
    for member in members:
        name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
        if not name.isprintable() or "\\" in name or not _stays_inside(name):
            _refuse(path, f"its member {name!r} lies outside of the run")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            _refuse(path, f"its member '{name}' is a link or a device")
        if member.flag_bits & _ENCRYPTED:
            _refuse(path, f"its member '{name}' is encrypted")
    return members


def _stays_inside(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return not any(part in ("", ".", "..") for part in parts)


def _copy(path: Path, source: IO[bytes], target: IO[bytes], room: int) -> int:
    """Copy a member whatever its header says of its size; returns its bytes."""
    size = 0
    while block := source.read(_BLOCK):
        size += len(block)
        if size > room:
            limits = f"{LARGEST / 2**30:g} GiB, {RATIO} times the file"
            _refuse(path, f"unpacked it is larger than is allowed ({limits})")
        target.write(block)
    return size


def _refuse(path: Path, why: str, failure: BaseException | None = None) -> NoReturn:
    raise UserError(
        f"{path} is not a packed run: {why.rstrip('.')}.",
        hint="Name a run folder or a packed run. If it came with pairuni, reinstall it.",
    ) from failure
