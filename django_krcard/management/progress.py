"""How far long work has come, on one line of the terminal. Where nobody looks, nothing is written."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")

#: Seconds between two drawings: more often costs more than it tells.
EVERY = 0.1
BAR = 20


class Progress:
    """A line on stderr, gone when the work is over: ``with Progress(total) as bar: for each in bar.over(items): …``

    ``total`` says how much there is to do, ``position`` how much of it is done where that is not the number of things
    (the bytes of a file, say). Without a total it counts. Call ``clear`` before something else is printed.
    """

    def __init__(
        self, total: int | None = None, *, position: Callable[[], int] | None = None, stream: TextIO | None = None
    ) -> None:
        self.total, self.position = total, position
        self.stream = stream or sys.stderr
        self.at_terminal = self.stream.isatty()
        self.count = self.width = 0

    def __enter__(self) -> Progress:
        self.began = self.drawn = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.advance()
            yield item

    def advance(self) -> None:
        """One more thing is done."""
        self.count += 1
        if self.at_terminal and time.monotonic() - self.drawn >= EVERY:
            self._draw()

    def clear(self) -> None:
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.stream.flush()
            self.width = 0

    def _draw(self) -> None:
        self.drawn = time.monotonic()
        # One sign less than there is room for: in the last column some terminals go on to the next line.
        line = "  ".join(self._parts(self.drawn - self.began))[: shutil.get_terminal_size().columns - 1]
        self.stream.write("\r" + line.ljust(self.width))
        self.stream.flush()
        self.width = len(line)

    def _parts(self, seconds: float) -> Iterator[str]:
        done = self.position() if self.position else self.count
        part = min(done / self.total, 1.0) if self.total else None
        if part is not None:
            yield f"[{'#' * round(part * BAR):.<{BAR}}] {part:4.0%}"
        yield f"{self.count:,}" if part is None or self.position else f"{self.count:,}/{self.total:,}"
        yield f"{self.count / seconds:,.0f}/s"
        if part:
            yield f"{_clock(seconds * (1 - part) / part)} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
