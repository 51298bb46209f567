"""One process at a time writes into a run folder.

The lock is the operating system's, on a file in its folder of temporary files: a kill leaves nothing behind.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from unlogit.device import on_main_process
from unlogit.errors import ConfigError
from unlogit.settings.options import RunConfig

P = ParamSpec("P")
R = TypeVar("R")

_HELD: set[Path] = set()
"""Folders that this process has locked: a step within a step has its lock already."""


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Refuse a folder that another process is writing into.

    Of several processes that train together the first one has the lock. Where the system has no such locks (Windows),
    nothing is refused.

    Raises:
        ConfigError: another process is at work there.
    """
    folder = folder.absolute()
    try:
        import fcntl
    except ImportError:
        yield
        return
    if folder in _HELD or not on_main_process():
        yield
        return
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"unlogit-{os.getuid()}-{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"another process is at work in {folder}; expected none: wait until it has ended, or choose another "
                "output"
            ) from error
        _HELD.add(folder)
        try:
            yield
        finally:
            _HELD.discard(folder)


def in_sole_use(step: Callable[P, R]) -> Callable[P, R]:
    """Let a step have its run folder, the ``output`` of the config among its arguments, for itself."""

    @wraps(step)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        config = next(value for value in args if isinstance(value, RunConfig))
        with sole_use(Path(config.output)):
            return step(*args, **kwargs)

    return locked
