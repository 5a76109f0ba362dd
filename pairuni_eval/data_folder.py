"""A folder of data: which of its files match a pattern, and which a row of the data may name.

A row is a stranger's text. What it says is judged as text, before the disk is asked: a path (either
separator; absolute, or relative to the row's file or to the folder) that does not lie inside the
folder once every `..` is worked out is refused, and so are URLs, drives, zero bytes and names that
no file can have. `~` and variables are letters like any other. Nothing is fetched.

Links are another matter, for a row cannot make one. In a folder that the user named they are the
user's own and followed wherever they lead, folders and files, in patterns and in paths: an archive
or checkout that brings links of its own is to be unpacked without them. In the hub's cache a link
must end inside the cache of that repository, where the client keeps the files. Only ordinary
files are opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pairuni_eval.errors import DatasetError

_LONGEST_NAME, _LONGEST_PATH = 255, 4096  # bytes, as file systems have them
_LARGEST = 1 << 29  # bytes of a file that a row names
_SHOWN = 60  # characters of a row's text in a reason
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_WILD = re.compile(r"[*?\[]")


class DataFolder(NamedTuple):
    """Where the files that rows name are looked for; see the module docstring.

    Attributes:
        root: No file outside of it is opened.
        start: Where relative paths start first (the folder of the row's file), then at `root`.
        links_within: Where links must end; None for a folder of the user.
    """

    root: Path
    start: Path
    links_within: Path | None = None

    @classmethod
    def around(cls, file: Path, root: Path | None = None) -> DataFolder:
        """The folder of a file's rows.

        Args:
            file: The file that holds the rows.
            root: The folder that it was found in; default: the hub's snapshot if it lies in one,
                else its own folder.
        """
        if root is not None:
            return cls(root, file.parent)
        for place in file.parents:
            if place.parent.name == "snapshots":
                return cls(place, file.parent, place.parent.parent)
        return cls(file.parent, file.parent)

    def find(self, name: str) -> Path:
        """The file that a row names.

        Raises:
            DatasetError: if it lies outside, is not there or is not an ordinary file.
        """
        for path in self._inside(name):
            try:
                ordinary = stat.S_ISREG(path.stat().st_mode)
            except (OSError, ValueError):  # not there, not allowed, a name that cannot be encoded
                continue
            if ordinary:
                self._check_links(path, name)
                return path
        raise DatasetError(f"there is no file {quoted(name)} in the dataset's folder")

    def has(self, name: str) -> bool:
        """Whether there is a file that a row may name so."""
        try:
            self.find(name)
        except DatasetError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """The content of the file that a row names; raises DatasetError as `find` does."""
        path = self.find(name)
        try:
            if path.stat().st_size > _LARGEST:
                raise DatasetError(f"the file {quoted(name)} is larger than {_LARGEST >> 20} MiB")
            return path.read_bytes()
        except OSError as failure:
            reason = failure.strerror or type(failure).__name__
            raise DatasetError(f"the file {quoted(name)} cannot be read: {reason}") from failure

    def _inside(self, name: str) -> list[Path]:
        """The places inside the folder that a row's text can mean, in order."""
        _check_form(name)
        text = name.replace("\\", "/")
        root = os.path.abspath(self.root)  # noqa: PTH100 - lexical: links stay as they are
        roots = (root, os.path.realpath(root))
        starts = (os.path.abspath(self.start), root)  # noqa: PTH100
        meant = [os.path.normpath(os.path.join(start, text)) for start in starts]  # noqa: PTH118
        inside = [one for one in meant if any(_below(one, place) for place in roots)]
        if not inside:
            raise DatasetError(f"{quoted(name)} leads out of the dataset's folder")
        return [Path(one) for one in dict.fromkeys(inside)]

    def _check_links(self, path: Path, name: str) -> None:
        if self.links_within is None:
            return
        if not _below(os.path.realpath(path), os.path.realpath(self.links_within)):
            raise DatasetError(f"{quoted(name)} is a link out of the dataset's folder")


def quoted(text: str) -> str:
    """The beginning of a row's text in quotes, safe to print."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")


def files_matching(folder: Path, pattern: str) -> list[Path]:
    """The files and folders below a folder that match a pattern, by name.

    `**` stands for any depth and enters linked folders as well; a folder that is reached in several
    ways is entered once, under its own name rather than that of a link.

    Args:
        folder: Where to look; need not exist.
        pattern: As in `Path.glob`, relative, with "/".
    """
    found = _matching(folder, PurePosixPath(pattern).parts) if folder.is_dir() else ()
    return sorted(dict.fromkeys(found))


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        for place in _folders(folder):
            if rest:
                yield from _matching(place, rest)
            else:
                yield place
        return
    for hit in _named(folder, part):
        if not rest:
            yield hit
        elif hit.is_dir():
            yield from _matching(hit, rest)


def _named(folder: Path, part: str) -> list[Path]:
    """What a folder holds under a name, which may have wildcards."""
    if _WILD.search(part) is None:
        return [folder / part] if os.path.lexists(folder / part) else []
    try:
        names = os.listdir(folder)  # noqa: PTH208 - strings: folders may hold many files
    except OSError:
        return []
    return [folder / name for name in names if fnmatchcase(name, part)]


def _folders(top: Path) -> Iterator[Path]:
    """A folder and all below it, each once: first those that are there, then what links reach."""
    seen: set[tuple[int, int]] = set()
    waiting = [str(top)]
    while waiting:
        links: list[str] = []
        for start in waiting:
            for place, below, _ in os.walk(start):
                known = _identity(place)
                if known is None or known in seen:
                    below.clear()
                    continue
                seen.add(known)
                yield Path(place)
                below.sort()
                paths = (os.path.join(place, name) for name in below)  # noqa: PTH118
                links += [path for path in paths if os.path.islink(path)]  # noqa: PTH114
        waiting = links


def _identity(place: str) -> tuple[int, int] | None:
    """What tells one folder from another by whatever name; None if it cannot be entered."""
    try:
        found = os.stat(place)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_form(name: str) -> None:
    """Raise a DatasetError for a text that can be no path into the folder."""
    if "\0" in name:
        raise DatasetError(f"{quoted(name)} holds a zero byte")
    if _URL.match(name):
        raise DatasetError(f"{quoted(name)} is a URL; nothing is fetched")
    if _DRIVE.match(name):
        raise DatasetError(f"{quoted(name)} names a drive")
    sizes = [len(part.encode("utf-8", "replace")) for part in re.split(r"[/\\]", name)]
    if max(sizes) > _LONGEST_NAME or sum(sizes) + len(sizes) > _LONGEST_PATH:
        raise DatasetError(
            f"a text of {len(name)} characters, too long for a path and no image in base64"
        )


def _below(path: str, place: str) -> bool:
    return path != place and path.startswith(os.path.join(place, ""))  # noqa: PTH118
