"""A request's check on few rows, for tests that are about something else."""

import pytest

from unlogit.runs import forget, request_check
from unlogit.strength import choose


def small_check(patch: pytest.MonkeyPatch, ghosts: int, **sizes: int) -> None:
    """Ask about ``ghosts``, at one strength; ``sizes`` are constants of ``runs.request_check``, in lower case."""
    patch.setattr(forget, "GHOSTS", ghosts)
    patch.setattr(choose, "STRONGER", ())
    patch.setattr(choose, "WEAKER", ())
    for name, size in sizes.items():
        for module in (request_check, forget):
            if hasattr(module, name.upper()):
                patch.setattr(module, name.upper(), size)
