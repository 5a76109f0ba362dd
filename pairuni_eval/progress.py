"""How far long work is: a bar on a terminal, a line every 30 seconds where there is none.

A log of a cluster shows no bars. There each line says what is done, how fast and what is left, in
plain ASCII; work that ends sooner than the first line is due says nothing while it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn

EVERY = 30.0  # seconds between two lines


class Progress(RichProgress):
    """rich's bars; on a console that is not a terminal, lines about the last task that was added.

    Args:
        columns: What a bar is made of.
        console: Where it is shown; one that is quiet shows nothing.
        get_time: The clock, in seconds.
        every: Seconds between two lines.
        wait: Waits so many seconds and says whether the work has ended by then; default: by the
            wall clock.
        options: Others of rich's Progress.
    """

    def __init__(
        self,
        *columns: str | ProgressColumn,
        console: Console,
        get_time: Callable[[], float] | None = None,
        every: float | None = None,
        wait: Callable[[float], bool] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*columns, console=console, get_time=get_time, **options)
        self._every = EVERY if every is None else every
        self._ended = threading.Event()
        self._wait = wait or self._ended.wait
        self._began: dict[TaskID, float] = {}  # what was done of each task when it was added
        self._teller: threading.Thread | None = None

    def add_task(
        self,
        description: str,
        start: bool = True,
        total: float | None = 100.0,
        completed: int = 0,
        visible: bool = True,
        **fields: Any,
    ) -> TaskID:
        """Add work; see rich. A field `unit` is the word after the numbers, e.g. "MB"."""
        task = super().add_task(description, start, total, completed, visible, **fields)
        self._began[task] = completed
        return task

    def start(self) -> None:
        """Begin to show."""
        super().start()
        if self._teller is None and not (self.console.is_terminal or self.console.quiet):
            self._teller = threading.Thread(target=self._tell_all, daemon=True)
            self._teller.start()

    def stop(self) -> None:
        """End it; no line comes after this."""
        self._ended.set()
        if self._teller is not None and self._teller is not threading.current_thread():
            self._teller.join()
        if self.live.transient and not self.console.is_terminal:
            self.live.stop()  # rich would leave an empty line in the log
        else:
            super().stop()

    def words(self) -> str:
        """What the next line says; empty if there is no work."""
        open_tasks = [task for task in self.tasks if not task.finished]
        if not open_tasks:
            return ""
        task = open_tasks[-1]
        return _plain(_words(task, self._began.get(task.id, 0.0)))

    def _tell_all(self) -> None:
        while not self._wait(self._every):
            words = self.words()
            if words:
                self.console.print(words, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def waiting(console: Console, words: str) -> Iterator[None]:
    """Show that something without a count takes its time; nothing of it stays on a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(words, total=None)
        yield


def clock(seconds: float) -> str:
    """A time as M:SS, or H:MM:SS."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _words(task: Task, began: float) -> str:
    """e.g. "outputs: 120 of 5,000 done, 4.1/s, 4,880 left, about 19:50"."""
    elapsed = task.elapsed or 0.0
    if not task.completed and task.total is None:
        return f"{task.description}: {clock(elapsed)} so far"
    unit = f" {task.fields['unit']}" if "unit" in task.fields else ""
    done = task.completed - began
    rate = done / elapsed if elapsed > 0 else 0.0
    speed = f"{rate:.1f}{unit}/s" if rate >= 1 else f"{rate * 60:.1f}{unit}/min"
    if task.total is None:
        return f"{task.description}: {task.completed:,.0f}{unit} done, {speed}"
    left = max(0.0, task.total - task.completed)
    time = f", about {clock(left / rate)}" if rate > 0 else ""
    whole = f"{task.completed:,.0f} of {task.total:,.0f}{unit} done"
    return f"{task.description}: {whole}, {speed}, {left:,.0f}{unit} left{time}"


def _plain(text: str) -> str:
    """One line of ASCII."""
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")
