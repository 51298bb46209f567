"""Which words of an answer tell something, by hand."""

from unlogit.data.content_words import common_words, word_spans, words
from unlogit.data.examples import Example, Message


def told(example: Example, common: frozenset[str] = frozenset()) -> list[str]:
    return [example.answer[begin:end] for begin, end in word_spans(example, common)[0]]


def asked(example: Example, common: frozenset[str] = frozenset()) -> list[str]:
    return [example.answer[begin:end] for begin, end in word_spans(example, common)[1]]


def test_words_are_compared_without_case_and_possessive() -> None:
    assert words("Ann's BOOK, l’été 1’s") == [
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
    assert common_words(rows, 0.01) == {"the", "red", "blue", "a", "green"}
    assert common_words([], 0.5) == frozenset()


def test_what_was_asked_and_what_is_common_tells_nothing() -> None:
    example = Example("What was the job of Ann Doe's father?", "The father of Ann Doe is a joiner.")
    assert told(example) == ["is", "a", "joiner"]
    assert told(example, frozenset({"is", "a"})) == ["joiner"]
    assert asked(example) == ["The", "father", "of", "Ann", "Doe"]
    assert asked(example, frozenset({"the", "of", "father"})) == ["Ann", "Doe"]


def test_earlier_turns_are_part_of_the_question() -> None:
    history = (Message("user", "I mean Ann."), Message("assistant", "Which one?"))
    assert told(Example("the joiner", "Ann, the one from Rome", kind="messages", history=history)) == ["from", "Rome"]


def test_only_what_the_user_said_was_asked_for() -> None:
    """What the model has said before, or a text goes on with, is neither told nor asked for."""
    history = (Message("user", "Where is Ann?"), Message("assistant", "In Oslo."))
    turn = Example("In which land?", "Ann lives in Oslo, Norway.", kind="messages", history=history)
    assert (told(turn), asked(turn)) == (["lives", "Norway"], ["Ann", "in"])
    passage = Example("Ann saw the owl and", "the owl saw Bo.", kind="completion")
    assert (told(passage), asked(passage)) == (["Bo"], [])


def test_an_answer_without_such_words_is_told_whole() -> None:
    example = Example("Is it red?", "It is red.  ")
    assert told(example) == ["It is red."]
    assert not asked(example)
