"""Forget quality by counting, and the row-by-row match with the retain model."""

import pytest

from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.metrics.forget_quality import forget_quality
from unlogit.evaluate.results import TruthRatios


def test_disjoint_samples() -> None:
    """Of the C(6, 3) = 20 orders of 3 + 3 values, 2 keep the samples apart: D = 1, p = 2/20."""
    result = forget_quality([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert result.value == pytest.approx(0.1, abs=1e-12)
    assert result.parts == {"ks_statistic": 1.0}
    assert (result.count, result.direction) == (3, "higher")


def test_too_much_forgetting_fails_as_too_little_does() -> None:
    retain = [0.9, 1.0, 1.1, 1.2]
    assert forget_quality([0.1] * 4, retain).value == forget_quality([9.0] * 4, retain).value < 0.05


def test_equal_samples_cannot_be_told_apart() -> None:
    assert forget_quality([0.3, 0.1, 0.2], [0.1, 0.2, 0.3]).value == pytest.approx(1.0)


def test_floor_of_forty_rows() -> None:
    """2 / C(80, 40) = 1.86e-23: the smallest value that forget01 can give."""
    result = forget_quality([i / 100 for i in range(40)], [1 + i / 100 for i in range(40)])
    assert result.value == pytest.approx(2 / 107507208733336176461620, rel=1e-9)


@pytest.mark.parametrize("retain", [None, []])
def test_without_a_retain_model_the_error_says_what_to_give(retain: list[float] | None) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.retain_model"):
        forget_quality([0.5], retain)


RETAIN = TruthRatios("kept", ("a-1", "b-1", "c-1"), (1.0, 2.0, 3.0))


def test_rows_are_matched_by_digest_not_by_place() -> None:
    assert RETAIN.on_rows(["c-1", "a-1"], "mine") == (3.0, 1.0)


def test_a_log_that_does_not_say_its_wrong_answers_matches() -> None:
    assert TruthRatios("log", ("a", "b"), (1.0, 2.0)).on_rows(["b-9"], "mine") == (2.0,)


def test_other_rows_are_refused_naming_both() -> None:
    with pytest.raises(DataError, match=r"1 of the 2 .*'mine'.* 3 .*'kept'"):
        RETAIN.on_rows(["a-1", "d-1"], "mine")


def test_other_wrong_answers_are_refused_naming_both() -> None:
    with pytest.raises(DataError, match=r"1 of the 2 .*'mine'.*wrong answers.*'kept'"):
        RETAIN.on_rows(["a-1", "b-2"], "mine")
