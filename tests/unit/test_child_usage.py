"""The memory of a command is its own, whoever starts it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.child_usage import run_measured

HELD = 200_000_000


def test_what_the_parent_held_is_not_counted() -> None:
    held = bytearray(HELD)
    held[::4096] = b"\1" * len(held[::4096])
    ran = run_measured([sys.executable, "-S", "-c", "print('one'); print('two')"])
    assert ran.peak < HELD / 2
    assert ran.out == "one\ntwo"
    del held


def test_what_the_command_holds_is_counted() -> None:
    code = f"held = bytearray({HELD}); held[::4096] = b'1' * len(held[::4096])"
    ran = run_measured([sys.executable, "-S", "-c", code])
    assert HELD < ran.peak < 2 * HELD
    assert ran.out == ""
    assert 0.0 < ran.cpu_seconds < ran.seconds * 4


def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run_measured([sys.executable, "-S", "-c", "raise SystemExit(3)"])
