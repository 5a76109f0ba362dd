"""What long work says of itself: bars on a terminal, a line every 30 seconds in a log."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from pairuni_eval import progress as module
from pairuni_eval.progress import Progress, clock, waiting


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ticking(seconds: list[float], between: Iterator[Callable[[], None]]) -> Callable[[float], bool]:
    """A wait that does the next piece of work instead of waiting; ends when there is none left."""

    def wait(asked: float) -> bool:
        seconds.append(asked)
        work = next(between, None)
        if work is None:
            return True
        work()
        return False

    return wait


def test_a_log_gets_a_line_every_thirty_seconds() -> None:
    file, time, asked = io.StringIO(), Clock(), list[float]()
    steps = iter((60, 60, 0))

    def work() -> None:
        time.now += 30.0
        progress.update(bar, advance=next(steps))

    progress = Progress(
        console=Console(file=file, width=20),
        get_time=time,
        wait=ticking(asked, iter((work, work, work))),
        transient=True,
    )
    bar = progress.add_task("outputs \N{EN DASH} pope", total=5000, completed=1000)
    with progress:
        pass
    assert asked == [30.0] * 4
    assert file.getvalue().splitlines() == [
        "outputs ? pope: 1,060 of 5,000 done, 2.0/s, 3,940 left, about 32:50",
        "outputs ? pope: 1,120 of 5,000 done, 2.0/s, 3,880 left, about 32:20",
        "outputs ? pope: 1,120 of 5,000 done, 1.3/s, 3,880 left, about 48:30",
    ]


def line(total: float | None, done: int, seconds: float, **fields: str) -> str:
    time = Clock()
    progress = Progress(console=Console(file=io.StringIO()), get_time=time)
    bar = progress.add_task("work", total=total, **fields)
    time.now += seconds
    progress.update(bar, advance=done)
    return progress.words()


@pytest.mark.parametrize(
    ("total", "done", "seconds", "fields", "words"),
    [
        (10, 2, 600.0, {}, "work: 2 of 10 done, 0.2/min, 8 left, about 40:00"),
        (10, 0, 31.0, {}, "work: 0 of 10 done, 0.0/min, 10 left"),
        (None, 0, 61.0, {}, "work: 1:01 so far"),
        (None, 1200, 60.0, {}, "work: 1,200 done, 20.0/s"),
        (900, 300, 30.0, {"unit": "MB"}, "work: 300 of 900 MB done, 10.0 MB/s, 600 MB left, "
         "about 1:00"),
        (10, 10, 31.0, {}, ""),
    ],
)  # fmt: skip
def test_the_line_says_rate_done_and_left(
    total: float | None, done: int, seconds: float, fields: dict[str, str], words: str
) -> None:
    assert line(total, done, seconds, **fields) == words


def test_the_last_open_work_is_told() -> None:
    progress = Progress(console=Console(file=io.StringIO()))
    assert progress.words() == ""
    progress.add_task("first", total=3)
    last = progress.add_task("second", total=3)
    assert progress.words().startswith("second: 0 of 3")
    progress.update(last, completed=3)
    assert progress.words().startswith("first: 0 of 3")


@pytest.mark.parametrize("console", [Console(quiet=True), Console(force_terminal=True)])
def test_a_terminal_and_a_quiet_console_get_no_lines(console: Console) -> None:
    console.file = io.StringIO()
    asked: list[float] = []
    progress = Progress(console=console, wait=ticking(asked, iter(())))
    with progress:
        progress.add_task("work", total=3)
    assert asked == []


def test_work_that_ends_at_once_says_nothing() -> None:
    file = io.StringIO()
    with waiting(Console(file=file), "loading"):
        pass
    assert file.getvalue() == ""


def test_what_has_no_count_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the wall clock, with the time between two lines made short."""
    monkeypatch.setattr(module, "EVERY", 0.001)

    class Heard(io.StringIO):
        def write(self, text: str) -> int:
            if "so far" in text:
                heard.set()
            return super().write(text)

    import threading

    heard = threading.Event()
    with waiting(Console(file=Heard()), "loading"):
        assert heard.wait(60)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_times_as_people_write_them(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
