"""Which words of an answer are content words, by hand."""

from unlogit.data.content_words import common_words, content_spans, word_positions
from unlogit.data.examples import Example, Message


def content(example: Example, common: frozenset[str] = frozenset()) -> list[str]:
    return [example.answer[begin:end] for begin, end in content_spans(example, common)[0]]


def repeated(example: Example, common: frozenset[str] = frozenset()) -> list[str]:
    return [example.answer[begin:end] for begin, end in content_spans(example, common)[1]]


def test_words_are_compared_without_case_and_possessive() -> None:
    assert word_positions("Ann's BOOK, l’été 1’s") == [
        ("ann", 0, 5),
        ("book", 6, 10),
        ("l'été", 12, 17),
        ("1", 18, 21),
    ]


def test_common_words_stand_in_a_share_of_the_answers() -> None:
    """Counted once an answer, however often they stand there."""
    rows = [Example("", "the red the"), Example("", "The blue"), Example("", "a a a red"), Example("", "green")]
    assert common_words(rows, 0.5) == {"the", "red"}
    assert common_words(rows, 0.75) == frozenset()
    assert common_words(rows, 0.01) == {"the", "red"}  # a word of one answer is never common
    assert common_words([], 0.5) == frozenset()


def test_words_of_the_question_and_common_words_are_no_content() -> None:
    example = Example("What was the job of Ann Doe's father?", "The father of Ann Doe is a joiner.")
    assert content(example) == ["is", "a", "joiner"]
    assert content(example, frozenset({"is", "a"})) == ["joiner"]
    assert repeated(example) == ["The", "father", "of", "Ann", "Doe"]
    assert repeated(example, frozenset({"the", "of", "father"})) == ["Ann", "Doe"]


def test_earlier_turns_are_part_of_the_question() -> None:
    history = (Message("user", "I mean Ann."), Message("assistant", "Which one?"))
    assert content(Example("the joiner", "Ann, the one from Rome", kind="messages", history=history)) == [
        "from",
        "Rome",
    ]


def test_only_words_of_the_user_are_repeated() -> None:
    """What the model has said before, or a text goes on with, is neither content nor repeated."""
    history = (Message("user", "Where is Ann?"), Message("assistant", "In Oslo."))
    turn = Example("In which land?", "Ann lives in Oslo, Norway.", kind="messages", history=history)
    assert (content(turn), repeated(turn)) == (["lives", "Norway"], ["Ann", "in"])
    passage = Example("Ann saw the owl and", "the owl saw Bo.", kind="completion")
    assert (content(passage), repeated(passage)) == (["Bo"], [])


def test_an_answer_without_content_words_is_all_content() -> None:
    example = Example("Is it red?", "It is red.  ")
    assert content(example) == ["It is red."]
    assert not repeated(example)
