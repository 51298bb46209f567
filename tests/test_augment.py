"""Wrong answers by exchange: the most similar questions give them, and none says what the true answer says."""

import pytest

from unlogit.data.augment import AUGMENTERS, exchange_answers, retold, same_words, says_the_same
from unlogit.data.examples import Example

ROWS = [
    Example("Where was Ann Berg born?", "Ann Berg was born in Oslo."),
    Example("What instrument does Carl Dorn play?", "Carl Dorn plays the harp."),
    Example("Where was Ewa Fink born?", "Ewa Fink was born in Riga."),
    Example("Where was Gus Hahn born?", "Gus Hahn was born in Oslo."),
    Example("Where was Ida Juhl born?", "Ida Juhl was born in Bergen."),
    Example("What instrument does Kai Lund play?", "Kai Lund plays the lute."),
]


def test_same_words() -> None:
    assert same_words("Yun-Hwa Hsiao!", "hsiao, yun hwa")
    assert not same_words("a b", "a b b")


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        ("Gus Hahn was born in Oslo.", True),  # another's name, the same place: still the truth about the place
        ("Oslo, in fact, and not in Riga.", True),  # holds the truth
        ("In Oslo", True),  # holds nothing but the truth
        ("Ann Berg was born.", True),  # tells nothing that the question does not
        ("Ewa Fink was born in Riga.", False),
    ],
)
def test_says_the_same(candidate: str, expected: bool) -> None:
    assert says_the_same(candidate, ROWS[0].question, ROWS[0].answer) is expected


def test_answer_that_only_repeats_the_question() -> None:
    """Of "Ann is tall." nothing is left beyond the question: all content words count, ann and tall."""
    assert says_the_same("Tall Ann it is, she said", "Is Ann tall?", "Ann is tall.")
    assert not says_the_same("Ann has grown short", "Is Ann tall?", "Ann is tall.")


def test_most_similar_question_first() -> None:
    """Row 0 shares "born" with rows 2, 3, 4 alone; row 3's answer is the same place, so it is out. Names are those of
    the question."""
    made = exchange_answers(ROWS, 2, seed=0)
    assert set(made[0]) == {"Ann Berg was born in Riga.", "Ann Berg was born in Bergen."}
    assert made[1][0] == "Carl Dorn plays the lute."
    assert made[5][0] == "Kai Lund plays the harp."
    assert ROWS[0].answer not in made[3]


def test_seed_decides_between_equals_only() -> None:
    first = exchange_answers(ROWS, 1, seed=0)
    assert first == exchange_answers(ROWS, 1, seed=0)
    orders = {exchange_answers(ROWS, 1, seed)[0] for seed in range(8)}
    assert orders == {("Ann Berg was born in Riga.",), ("Ann Berg was born in Bergen.",)}


def test_other_rows_give_before_those_of_the_same_person() -> None:
    """All to be forgotten is about Ann; what others are asked alike comes first, however much her name is shared."""
    ann = [Example("Where was Ann Berg born?", "Oslo."), Example("When was Ann Berg born?", "Ann Berg: 1960.")]
    assert exchange_answers(ann, 1, seed=0)[0] == ("Ann Berg: 1960.",)
    for seed in range(4):
        assert exchange_answers(ann, 2, seed, ROWS[1:3])[0] == ("Ann Berg was born in Riga.", "Ann Berg: 1960.")


@pytest.mark.parametrize(
    ("question", "other", "answer", "expected"),
    [
        (
            "Where was Ann Berg born?",
            "Where was Gus Hahn born?",
            "Gus Hahn, or Hahn, of Hahnau",
            "Ann Berg, or Berg, of Hahnau",
        ),
        ("Where was Ann born?", "Where was Gus Hahn born?", "Gus Hahn's home, Hahn says", "Ann's home, Hahn says"),
        ("When was Ann's dog found?", "When was Gus's cat found?", "Gus's cat? In May.", "Ann's dog? In May."),
        ("Who is Ann?", "Which of the towns has Gus visited?", "Gus went to Bonn.", "Gus went to Bonn."),
        ("Where was Ann born?", "Where was Ann born?", "In Bonn.", "In Bonn."),
        ("", "", "In Bonn.", "In Bonn."),
    ],
)
def test_an_answer_is_retold_of_whom_is_asked(question: str, other: str, answer: str, expected: str) -> None:
    assert retold(Example(other, answer), question) == expected


def test_rarer_words_weigh_more() -> None:
    """Each other shares two words with the first; "zither" stands in two questions, the rest in four or five."""
    rows = [
        Example("zither year first", "alpha"),
        Example("year first other", "beta"),
        Example("zither year odd", "gamma"),
        Example("year first more", "delta"),
        Example("year first less", "epsilon"),
    ]
    assert exchange_answers(rows, 1, seed=0)[0] == ("gamma",)


def test_equal_answers_and_equal_questions_are_passed_over() -> None:
    rows = [
        Example("Who is it?", "Anna"),
        Example("who is it", "Berta"),  # a second answer to the same question may be true as well
        Example("Who was it?", "Cora"),
        Example("Who will it be?", "cora!"),
    ]
    assert exchange_answers(rows, 3, seed=0)[0] in {("Cora",), ("cora!",)}


def test_rows_that_get_nothing() -> None:
    given = Example("Where was Moe born?", "In Cork.", perturbed_answer=("In Ghent.",))
    text = Example("", "Some running text.", kind="text")
    made = exchange_answers([*ROWS, given, text], 1, seed=0)
    assert made[-2:] == [(), ()]
    assert all(text.answer not in wrong for wrong in made)
    assert exchange_answers(ROWS[:1], 2, seed=0) == [()]
    assert exchange_answers(ROWS, 0, seed=0) == [()] * 6


def test_more_rows_than_one_block() -> None:
    """300 questions in blocks of 256: question i of a pair shares its rare word with its partner only."""
    rows = [Example(f"question about w{i // 2}?", f"answer {i}") for i in range(300)]
    rows = [Example(f"{row.question} {'here' if i % 2 else 'there'}", row.answer) for i, row in enumerate(rows)]
    made = exchange_answers(rows, 1, seed=0)
    assert [wrong[0] for wrong in made] == [rows[i ^ 1].answer for i in range(300)]


def test_augmenters_by_name() -> None:
    assert AUGMENTERS["exchange"] is exchange_answers
