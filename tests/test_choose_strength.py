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
    "the first does": ({1.1: (0, False)}, 1.1, [1.1]),
    "stronger while rows are told": ({1.1: (2, False), 1.25: (1, False), 1.5: (0, False)}, 1.5, [1.1, 1.25, 1.5]),
    "and no further": ({1.1: (2, False), 1.25: (0, False)}, 1.25, [1.1, 1.25]),
    "weaker where too much is lost": ({1.1: (0, True), 0.75: (0, False)}, 0.75, [1.1, 0.75]),
    "not so weak that rows are told": ({1.1: (0, True), 0.75: (1, False)}, 1.1, [1.1, 0.75]),
    "told and lost: no better is found": ({1.1: (2, True), 1.25: (2, True)}, 1.1, [1.1, 1.25]),
    "told by all: the fewest": ({1.1: (3, False), 1.25: (2, False), 1.5: (2, False)}, 1.25, [1.1, 1.25, 1.5]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_least_that_tells_and_loses_nothing(case: str) -> None:
    results, strength, tried = CASES[case]
    assert chosen(results) == (strength, tried)


def test_it_says_what_else_was_tried() -> None:
    results = {1.1: (0, True), 0.75: (0, False)}
    assert choose_strength(lambda strength: Checked(*results[strength])).why == (
        "the best of 2 that were tried (1.1: tells none, loses too much)"
    )
