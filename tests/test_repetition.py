"""Repetition: texts by hand, and the share."""

import pytest

from unlogit.evaluate.metrics import compute_metrics
from unlogit.evaluate.repetition import ends_in_repetition
from unlogit.evaluate.scoring import Score

LONG = "he wrote a very long book about the sea "


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("", False),
        ("no", False),
        ("no no", False),
        ("no no no", True),
        ("No, no; NO!", True),
        ("no no no yes", False),
        ("it is said, it is said", False),  # three words twice
        ("it is said, it is said, it is said", True),
        ("it is said, it is said, it is", False),  # eight words of period three: not three times
        ("so it is said, it is said, it is said, it", True),  # the last copy is cut off
        (LONG * 2, True),  # nine words twice
        (LONG + LONG[:-5], False),  # and once and a part
        ("one two three four five one two three four five", True),
        ("one two three four one two three four", False),
        ("one two three four, one two three five, one two three six", False),
        ((" ".join(f"w{i}" for i in range(21)) + " ") * 2, False),  # longer than what is looked for
    ],
)
def test_the_end_repeats_itself(text: str, repeats: bool) -> None:
    assert ends_in_repetition(text) == repeats


def test_the_share_is_of_generated_answers() -> None:
    """Of three answers, one was not generated and one of the others ends so: 1/2."""
    scores = [Score(0.1, 1, (True,), None, (), text, "paris") for text in ("no no no", None, "In Paris.")]
    found = compute_metrics(scores, "forget")["repetition"]
    assert (found.value, found.per_example, found.row_indices) == (0.5, (1.0, 0.0), (0, 2))
    assert found.direction == "lower"
