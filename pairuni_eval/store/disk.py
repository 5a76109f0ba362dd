"""Waits for the disk: for one file, or for many at the price of one.

A file that was written lies in the operating system's memory: it survives the death of the process
but not a power cut. Waiting until it is on the disk takes milliseconds; for a thousand files that
is longer than everything else done for them, so many files are waited for by one call for their
whole file system (Linux `syncfs`), and one by one only where there is no such call.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache

_FEW = 8  # files that are waited for one by one


def wait_for_disk(paths: Sequence[str]) -> None:
    """Return when these files of one file system are on the disk.

    Raises:
        OSError: if the disk is full or fails.
    """
    if len(paths) > _FEW and _sync_file_system(paths[0]):
        return
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_file_system(path: str) -> bool:
    """Wait for everything on the file system of `path`; False if the system has no such call."""
    library = _library()
    if not hasattr(library, "syncfs"):
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        if library.syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(handle)
    return True


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
