"""Builds pair sets in a child process that is killed again and again, until one build ends.

`python -m support.kill_build CONFIG OUT`, with tests/ on the path. Each child is forked from this
process, which has imported everything and builds nothing itself, and is killed by SIGKILL when it
is about to give its second file or folder its name: one more is whole then, and the second lies
there under a temporary name. Prints the number of kills.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import faiss  # noqa: F401
import sklearn.cluster  # noqa: F401
import torch  # noqa: F401

from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.config import read_config

NAMED_BEFORE_THE_KILL = 1
MOST = 100


def main() -> None:
    """Kill and go on."""
    config, out = map(Path, sys.argv[1:])
    for kills in range(MOST):
        child = os.fork()
        if child == 0:
            _arm()
            build(read_config(config), out)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            print(kills)
            return
        assert code == -signal.SIGKILL, f"the build ended by itself with {code}"
    raise AssertionError(f"no end after {MOST} kills")


def _arm() -> None:
    left = NAMED_BEFORE_THE_KILL
    rename, replace = os.rename, os.replace

    def count_down() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def watched_rename(source: object, target: object) -> None:
        count_down()
        rename(source, target)  # type: ignore[arg-type]

    def watched_replace(source: object, target: object) -> None:
        # What every build writes anew says nothing of how far the one before got.
        if not str(target).endswith((".svg", ".md", "config.json", "rejects.jsonl")):
            count_down()
        replace(source, target)  # type: ignore[arg-type]

    os.rename, os.replace = watched_rename, watched_replace  # type: ignore[assignment]


if __name__ == "__main__":
    main()
