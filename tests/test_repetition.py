"""Repetition: texts by hand, and the share."""

import pytest

from unlogit.evaluate.metrics.repetition import ends_in_repetition
from unlogit.evaluate.metrics.table import compute_metrics
from unlogit.evaluate.scoring.score import Score

LONG = "he wrote a very long book about the sea "


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("", False),
        ("no", False),
        ("no, no", False),
        ("no, no, no", False),
        ("no, no, no, no", True),
        ("no no no yes", False),
        ("it cost 1,000,000,000 in www", False),
        ("it is said, it is said", False),
        ("it is said, it is said, it is said", True),
        ("so it is said, it is said, it is said, it is sa", True),  # cut off inside a word
        ("in the the the the th", True),
        ("the cat sat the cat sat the cat sat the cat sa", True),
        ("France has aSTMVVVVVVVVVVVVVV", True),
        ("YESHANGUYESHANGUYESHANGU", True),
        (". . . . . . .", True),
        (LONG * 2, True),  # 40 characters twice
        (LONG + LONG[:-5], False),  # and once and a part
        ("he wrote, she wrote, they read, we wrote", False),
        ("red, blue, green, yellow, black, white", False),
        ("".join(f"w{i}," for i in range(80)) * 2, False),  # longer than what is looked for
    ],
)
def test_the_end_repeats_itself(text: str, repeats: bool) -> None:
    assert ends_in_repetition(text) == repeats


def test_the_share_is_of_generated_answers() -> None:
    """Of three answers, one was not generated and one of the others ends so: 1/2."""
    scores = [Score(0.1, 1, (True,), None, (), text, "paris") for text in ("no no no no no", None, "In Paris.")]
    found = compute_metrics(scores, "forget")["repetition"]
    assert (found.value, found.per_example, found.row_indices) == (0.5, (1.0, 0.0), (0, 2))
    assert found.direction == "lower"
