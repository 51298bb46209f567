"""Exposure and its p-value, by hand."""

import itertools
import math

import pytest

from unlogit.strength.exposure import exposure, over_suppressed, rank, rank_sum_p_value, unknown_rows


def test_a_row_likelier_than_all_its_ghosts_has_all_bits() -> None:
    result = exposure([(0.1, [2.0] * 31), (0.2, [3.0] * 31)])
    assert result.bits == result.most_bits == 5
    assert result.p_value == pytest.approx(1 / 32**2)


def test_the_least_likely_row_has_none() -> None:
    result = exposure([(9.0, [1.0, 2.0, 3.0])])
    assert result.bits == 0
    assert result.most_bits == 2
    assert result.p_value == 1


def test_exposure_is_a_mean_over_rows() -> None:
    result = exposure([(1.5, [1.0, 2.0, 3.0]), (0.5, [1.0, 2.0, 3.0])])
    assert result.bits == pytest.approx((math.log2(4 / 2) + 2) / 2)


def test_rank_counts_from_one() -> None:
    assert [rank(loss, [1.0, 2.0]) for loss in (0.0, 1.5, 3.0)] == [1, 2, 3]


def test_the_p_value_is_that_of_all_orders() -> None:
    places = [3, 4, 2]
    sums = [sum(order) for order in itertools.product(*(range(1, count + 1) for count in places))]
    for ranks in ([1, 1, 1], [2, 2, 1], [3, 4, 2], [1, 3, 2]):
        expected = sum(value <= sum(ranks) for value in sums) / len(sums)
        assert rank_sum_p_value(ranks, places) == pytest.approx(expected)


def test_rows_that_the_model_does_not_know() -> None:
    ghosts = [1.0, 2.0, 3.0]
    assert unknown_rows([(0.5, ghosts), (2.5, ghosts), (9.0, ghosts)]) == [1, 2]


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="one row"):
        exposure([])


def test_over_suppressed() -> None:
    """Last of 21 is one in 21 by chance: such a row alone is too many, one among five ordinary ones is not, nor one
    among two ghosts; and six rows that are rather unlikely, none of them the last, are too many as well."""
    ghosts = tuple(2 + 0.05 * i for i in range(20))
    assert over_suppressed([(9.0, ghosts)])
    assert not over_suppressed([(2.5, ghosts)])
    assert not over_suppressed([(9.0, ghosts), *[(2.5, ghosts)] * 5])
    assert over_suppressed([*[(9.0, ghosts)] * 5, (2.5, ghosts)])
    assert over_suppressed([(2.93, ghosts)] * 6)
    assert not over_suppressed([(1.0, ghosts)] * 6)
    assert not over_suppressed([(9.0, ghosts[:2])])
    assert not over_suppressed([(2.0, (2.0,) * 32)])  # no likelier, nor less
    assert not over_suppressed([])
