"""Two kinds of trouble, kept apart.

`UserError` is what a person can mend: it names the file, the key, the nearest valid value and the
next command, and the command line prints it without a traceback.

`BoundaryError` is what goes wrong on the far side of a boundary (a model, a judge, a dataset): it
is recorded on the row that met it and the run goes on. `boundary()` does all of the classification;
whatever it does not name is a bug and is never caught.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user can mend.

    Args:
        message: What is wrong, with the file or the key that holds it.
        hint: What to do next, as a command or a sentence.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BoundaryError(Exception):
    """A failure on the far side of a boundary; its text is stored on the row."""


class ModelError(BoundaryError):
    """The model could not answer this request."""


class JudgeError(BoundaryError):
    """The judge gave no usable verdict for this item."""


class DatasetError(BoundaryError):
    """The dataset row cannot be used (a broken image, a missing cell)."""


# What third-party code raises for "this input does not work", as opposed to a mistake of ours
# (TypeError, AttributeError, KeyError, AssertionError stay uncaught on purpose).
_FOREIGN_FAILURES = (RuntimeError, ValueError, OSError, ArithmeticError)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # "<_io.BytesIO object at 0x7f3c...>"
_REFUSED = (  # what a path can cause
    errno.ENOENT,
    errno.ENXIO,
    errno.ENODEV,
    errno.EINVAL,
    errno.EILSEQ,
    errno.EIO,
    errno.EBUSY,
    errno.ETXTBSY,
    errno.EXDEV,
    errno.EMLINK,
    errno.EOPNOTSUPP,
    errno.ESTALE,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


@contextmanager
def boundary(kind: type[BoundaryError]) -> Iterator[None]:
    """Turn a foreign failure inside the block into `kind`.

    Raises:
        BoundaryError: of the given kind, for the failures that foreign code is known to raise.
        UserError: for a full disk, which no other row will survive either.
    """
    try:
        yield
    except BoundaryError:
        raise
    except _FOREIGN_FAILURES as failure:
        if isinstance(failure, OSError) and failure.errno in _FULL:
            raise _disk_full(failure.filename or "a file") from failure
        raise kind(foreign_words(failure)) from failure


def foreign_words(failure: BaseException) -> str:
    """What foreign code says of a failure, without addresses in memory: runs must say the same."""
    return f"{type(failure).__name__}: {_ADDRESS.sub('', str(failure))}"


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn the operating system's refusals while writing `what` into a `UserError`."""
    try:
        yield
    except OSError as failure:
        if failure.errno in _FULL:
            raise _disk_full(what) from failure
        if failure.errno in _REFUSED:
            raise _cannot_write(what, failure.strerror or str(failure)) from failure
        raise
    except ValueError as failure:
        if "\0" not in what:
            raise
        raise _cannot_write(what, "no name holds a NUL character") from failure


def _cannot_write(what: str, why: str) -> UserError:
    return UserError(
        f"Cannot write {what}: {why}.",
        hint="Choose a folder that you may write to, e.g. --out /tmp/run.",
    )


def _disk_full(what: str) -> UserError:
    return UserError(
        f"The disk is full while writing {what}. What was written before is kept.",
        hint="Free some space and run the same command again: it continues.",
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None if nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def offer(name: str, known: Iterable[str]) -> str:
    """The words "Did you mean X?" with the known name closest to `name`; "" if none is close."""
    guess = nearest(name, known)
    return f" Did you mean '{guess}'?" if guess else ""


def unknown_name(
    kind: str,
    name: str,
    known: Iterable[str],
    *,
    of: str = "",
    list_command: str = "",
    hint: str | None = None,
) -> UserError:
    """The error for a name that is not in a list: offers the nearest one.

    Args:
        kind: What it would be the name of: "protocol".
        name: The name.
        known: The names that there are.
        of: Where it was looked for: "'pope'", "the suite 'tiny'".
        list_command: The command that lists them all.
        hint: What to do next, where no command lists them.
    """
    names = sorted(known)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    place = f" of {of}" if of else ""
    return UserError(
        f"Unknown {kind} '{name}'{place}.{offer(name, names)} Known: {shown or 'none'}.",
        hint=f"See them all: {list_command}" if list_command else hint,
    )
