"""What commands write to the terminal: tables, warnings and a bar while rows are scored."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

PIPED_COLUMNS = 120
"""Width of a table that goes to a file or another program."""

SECONDS_BETWEEN_LINES = 30
"""Seconds between two lines of progress where there is no bar."""


def console() -> Any:
    """Return a rich console on stdout; text is taken as it is, not as markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    return Console(width=width, markup=False, highlight=False)


class _Lines(logging.Handler):
    """Prints what the steps say of their progress, one line each, and what they warn of."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            warn(record.getMessage())
        else:
            print(self.format(record), flush=True)


@contextmanager
def progress_shown() -> Iterator[None]:
    """Print what the package logs, as the command line does; a program that imports it hears nothing unasked."""
    logger, printer = logging.getLogger("unlogit"), _Lines()
    previous = logger.level, logger.propagate
    logger.addHandler(printer)
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.level, logger.propagate = previous


def warn(message: str) -> None:
    """Print one line to stderr."""
    print(f"unlogit: warning: {message}", file=sys.stderr, flush=True)


def has_bar() -> bool:
    """Whether progress bars make sense: someone is looking."""
    return sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"


def duration(seconds: float) -> str:
    """Return a time in words: seconds below two minutes, then minutes, from two hours on hours."""
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def scoring_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to be called with what is being done, how many rows are done, and how many there are.

    Where nobody looks at a terminal, a line is logged now and then in place of the bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not has_bar()) as progress:
        tasks: dict[str, Any] = {}
        lines = _ProgressLines(title)

        def report(what: str, done: int, total: int) -> None:
            if not has_bar():
                lines.report(done, total)
                return
            if what not in tasks:
                tasks[what] = progress.add_task(f"{title}: {what}", total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


class _ProgressLines:
    """Logs how far something has come and how long it may still take, every ``SECONDS_BETWEEN_LINES``."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.first = self.done = self.total = 0
        self.started = self.last_line = time.monotonic()

    def report(self, done: int, total: int) -> None:
        """Take the rows that are done, of how many."""
        now = time.monotonic()
        if self.total and (done <= self.done or total != self.total):  # another list of rows
            self.first, self.started = done, now
        self.done, self.total = done, total
        if self.first < done < total and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            remaining = (now - self.started) / (done - self.first) * (total - done)
            log.info(f"{self.title}: {done} of {total} · {duration(remaining)} left")
