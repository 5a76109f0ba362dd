"""What a command takes: seconds, processor time, and the most memory that it held.

Linux counts to a process the most that its parent held when it started it, until the new program
begins: what a process that once held gigabytes starts seems to take gigabytes. So the command is
started by a small process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

_STARTER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
sys.stdout.buffer.write(done.stdout)
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit]))
sys.exit(done.returncode)
"""


class ChildUsage(NamedTuple):
    """What a command took, and what it printed.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Processor time, its own and the system's for it.
        peak: Bytes.
        out: Its standard output.
    """

    seconds: float
    cpu_seconds: float
    peak: int
    out: str


def run_measured(command: Sequence[str], *, timeout: float | None = None) -> ChildUsage:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: if it fails.
        subprocess.TimeoutExpired: if it takes longer.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", _STARTER, *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=timeout,
    )
    out, _, usage = done.stdout.removesuffix("\n").rpartition("\n")
    seconds, cpu_seconds, peak = json.loads(usage)
    return ChildUsage(seconds, cpu_seconds, peak, out)
