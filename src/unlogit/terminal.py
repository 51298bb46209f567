"""What commands write to the terminal: tables, warnings and a bar while rows are scored."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PIPED_COLUMNS = 120
"""Width of a table that goes to a file or another program."""


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


@contextmanager
def scoring_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to be called with what is being done, how many rows are done, and how many there are."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not has_bar()) as progress:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(f"{title}: {what}", total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report
