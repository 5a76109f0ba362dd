"""Commands as they are printed: what stands there can be typed again as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path


def as_typed(*words: object) -> str:
    """Words as a shell takes them, quoted where a blank or a sign in them needs it.

    A path that begins with a dash is written as ./-NAME, or it would be an option.
    """
    return shlex.join(f"./{word}" if _looks_like_option(word) else str(word) for word in words)


def as_baseline(run: Path) -> str:
    """A run as NAME=RUN; the name ends at the first "=", so it has none."""
    return f"{run.name.replace('=', '-') or 'run'}={run}"


def is_command(text: str) -> bool:
    """Whether a text is one command of this program and nothing else, as `as_typed` prints one."""
    try:
        words = shlex.split(text)
    except ValueError:
        return False
    return text.isprintable() and words[:1] == ["pairuni-eval"] and shlex.join(words) == text


def _looks_like_option(word: object) -> bool:
    return isinstance(word, Path) and str(word).startswith("-")
