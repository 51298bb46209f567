"""Which strength a request is given."""

from dataclasses import dataclass

import pytest

from unlogit.strength.choose import choose_strength


@dataclass
class Checked:
    told_rows: int
    loses: bool


def chosen(results: dict[float, tuple[int, bool]]) -> tuple[float, list[float]]:
    """Return the strength that is chosen and those that were tried, in order."""
    found = choose_strength(lambda strength: Checked(*results[strength]))
    assert found.checked == Checked(*results[found.strength])
    return found.strength, [one.strength for one in found.tried]


CASES = {
    "the first does": ({1.0: (0, False)}, 1.0, [1.0]),
    "stronger while rows are told": ({1.0: (2, False), 1.2: (1, False), 1.4: (0, False)}, 1.4, [1.0, 1.2, 1.4]),
    "and no further": ({1.0: (2, False), 1.2: (0, False)}, 1.2, [1.0, 1.2]),
    "weaker where too much is lost": (
        {1.0: (0, True), 0.7: (0, False), 0.85: (0, True), 0.775: (0, True)},
        0.7,
        [1.0, 0.7, 0.85, 0.775],
    ),
    "as strong as nothing is lost": ({1.0: (0, True), 0.7: (0, False), 0.85: (0, False)}, 0.85, [1.0, 0.7, 0.85]),
    "between what tells and what loses": (
        {1.0: (0, True), 0.7: (1, False), 0.85: (0, False)},
        0.85,
        [1.0, 0.7, 0.85],
    ),
    "halved again, upwards": (
        {1.0: (0, True), 0.7: (2, False), 0.85: (1, False), 0.925: (0, True)},
        0.925,
        [1.0, 0.7, 0.85, 0.925],
    ),
    "halved again, downwards": (
        {1.0: (1, False), 1.2: (0, True), 1.1: (0, True), 1.05: (0, False)},
        1.05,
        [1.0, 1.2, 1.1, 1.05],
    ),
    "nothing between what tells and loses at once": ({1.0: (0, True), 0.7: (1, True)}, 1.0, [1.0, 0.7]),
    "a middle that does both ends it": (
        {1.0: (0, True), 0.7: (1, False), 0.85: (1, True)},
        1.0,
        [1.0, 0.7, 0.85],
    ),
    "told and lost: stronger, then weaker": (
        {1.0: (2, True), 1.2: (2, True), 0.7: (2, True), 0.5: (1, False)},
        0.5,
        [1.0, 1.2, 0.7, 0.5],
    ),
    "told and lost: stronger, until one tells and loses nothing": ({1.0: (2, True), 1.2: (0, False)}, 1.2, [1.0, 1.2]),
    "told and lost: one that loses is not enough": (
        {1.0: (2, True), 1.2: (0, True), 0.7: (0, False), 0.95: (1, True)},
        0.7,
        [1.0, 1.2, 0.7, 0.95],
    ),
    "told and lost: stronger while it loses nothing": (
        {1.0: (2, True), 1.2: (1, False), 1.4: (0, False)},
        1.4,
        [1.0, 1.2, 1.4],
    ),
    "told and lost: one that tells fewer is not enough": (
        {1.0: (2, True), 1.2: (1, True), 0.7: (0, False)},
        0.7,
        [1.0, 1.2, 0.7],
    ),
    "told and lost: weaker, until one tells more": (
        {1.0: (2, True), 1.2: (2, True), 0.7: (3, False)},
        1.0,
        [1.0, 1.2, 0.7],
    ),
    "lost by all: the weakest": ({1.0: (0, True), 0.7: (0, True), 0.5: (0, True)}, 0.5, [1.0, 0.7, 0.5]),
    "told by all: the fewest": ({1.0: (3, False), 1.2: (2, False), 1.4: (2, False)}, 1.2, [1.0, 1.2, 1.4]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_strongest_that_tells_and_loses_nothing(case: str) -> None:
    results, strength, tried = CASES[case]
    assert chosen(results) == (strength, tried)


def test_it_says_what_else_was_tried() -> None:
    results = {1.0: (0, True), 0.7: (0, False), 0.85: (0, False)}
    assert choose_strength(lambda strength: Checked(*results[strength])).why == (
        "the best of 3 that were tried (1: tells none, loses too much; 0.7: tells none)"
    )
