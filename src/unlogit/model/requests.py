"""The requests of an unlearned model: each has a name, its branches and a strength.

A branch is a dict of the model's config, see ``UnlearnedConfig.branches``. Its weight in the combination is the one
that its objective gave it times the strength of its request. Branches add up, and one that is uniform adds nothing: a
request changes no answer that it does not concern, and can be taken away as if it had never been.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from unlogit.errors import ConfigError, nearest

Branch = Mapping[str, Any]

DEFAULTS: dict[str, Any] = {"request": "request", "strength": 1.0, "adds": False}
"""What branches have that were saved before requests had names. ``adds``: see ``logit_difference``."""


def weight_of(branch: Branch) -> float:
    """Return the weight of a branch in the combination."""
    weight: float = branch["weight"] * branch["strength"]
    return weight


def strengths_of(branches: Iterable[Branch]) -> dict[str, float]:
    """Return the strength of each request by its name, in order."""
    return {branch["request"]: branch["strength"] for branch in branches}


def unused_name(name: str, branches: Iterable[Branch]) -> str:
    """Return ``name``, with a number after it where another request has it."""
    taken_names = strengths_of(branches)
    return next(free for i in count(1) if (free := name if i == 1 else f"{name}-{i}") not in taken_names)


def next_branches(
    earlier: Sequence[Branch], branches: Sequence[Branch], name: str, additions: Sequence[bool]
) -> list[dict[str, Any]]:
    """Return the branches of a model of which the first are those of ``earlier`` requests, and the others one more.

    ``additions`` says of each of the others whether it is one.
    """
    request = unused_name(name, earlier)
    added = [{"request": request, "strength": 1.0, "adds": adds} for adds in additions]
    unchanged = [{key: branch[key] for key in DEFAULTS} for branch in earlier]
    return [{**branch, **values} for branch, values in zip(branches, [*unchanged, *added], strict=True)]


def with_strength(branches: Sequence[Branch], name: str, strength: float) -> list[dict[str, Any]]:
    """Return the branches with another strength of one request.

    Raises:
        ConfigError: there is no such request.
    """
    _check_name(branches, name)
    return [{**branch, "strength": strength} if branch["request"] == name else dict(branch) for branch in branches]


def without_request(branches: Sequence[Branch], name: str) -> list[dict[str, Any]]:
    """Return the branches of all other requests.

    Raises:
        ConfigError: there is no such request, or no other.
    """
    _check_name(branches, name)
    if not (remaining := [dict(branch) for branch in branches if branch["request"] != name]):
        raise ConfigError(
            f"{name} is the only request, and without it the model is its target; expected another to be left: use "
            "the target itself, or give --strength"
        )
    return remaining


def _check_name(branches: Sequence[Branch], name: str) -> None:
    names = list(strengths_of(branches))
    if name not in names:
        raise ConfigError(f"there is no request {name!r}{nearest(name, names)}; expected one of {', '.join(names)}")
