"""What a model wrote about a row is used only if it says the same, or the wrong thing, or asks about the sentence."""

import pytest

from unlogit.data.examples import Example
from unlogit.data.faithful import (
    asks_about,
    first_line,
    is_paraphrased_answer,
    is_paraphrased_question,
    is_wrong_answer,
    values_of,
)

ROW = Example("When did Ann Berg move to Oslo?", "Ann Berg moved to Oslo on 3 May 1987.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Question: "Who is Ann?"\nAnswer: A baker.', "Who is Ann?"),
        ("\n\n  A: In Oslo. \n", "In Oslo."),
        ("“Wer ist Ann?”", "Wer ist Ann?"),
        ("", ""),
    ],
)
def test_first_line(text: str, expected: str) -> None:
    assert first_line(text) == expected


def test_values() -> None:
    assert values_of("Ann Berg's number is 555-12, mail a.b@x.org, she says.") >= {"ann", "berg", "555", "12", "org"}
    assert values_of("The house is old.") == set()


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("In which year did Ann Berg move to Oslo?", True),
        ("On which day was the move of Ann Berg to Oslo?", True),
        ("When did Ann Berg move to Oslo?", False),  # the same
        ("when did ann berg, move to Oslo", False),
        ("In which year did Ann Berg move to Riga?", False),  # another name
        ("In which year did she move to Oslo?", False),  # a name is gone
        ("In which year did Ann Berg move to Oslo 2?", False),  # a number more
        ("Did Ann Berg move to Oslo on 3 May 1987?", False),  # the answer is in it
        ("Ann Berg did move to Oslo some day.", False),  # no question
        ("Is it so? In which year did Ann Berg move to Oslo?", False),
        ("How old is Ann Berg of Oslo?", False),  # something else
        ("Ann Berg Oslo move" * 9 + "?", False),
    ],
)
def test_paraphrased_question(text: str, passes: bool) -> None:
    assert is_paraphrased_question(text, ROW) is passes


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("On 3 May 1987 Ann Berg moved to Oslo.", True),
        ("Ann Berg moved to Oslo on 3 May 1987!", False),  # the same
        ("It was on 3 May 1987 that Ann Berg moved.", True),  # Oslo is in the question
        ("It was on 3 May 1978 that Ann Berg moved to Oslo.", False),
        ("It was in May 1987 that Ann Berg moved to Oslo.", False),
        ("It was on 3 May 1987 that Ann Berg moved to Oslo with Bo.", False),
    ],
)
def test_paraphrased_answer(text: str, passes: bool) -> None:
    assert is_paraphrased_answer(text, ROW) is passes


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("Ann Berg moved to Oslo on 9 June 1972.", True),
        ("Ann Berg moved to Oslo on 3 June 1972.", False),  # the day is the true one
        ("Ann Berg moved to Oslo on 9 June 1987.", False),
        ("Ann Berg moved to Oslo with Gus Hahn.", False),  # somebody else's name
        ("Did Ann Berg move on 9 June 1972?", False),
        ("Ann Berg moved to Oslo.", False),  # says nothing that is wrong
    ],
)
def test_wrong_answer(text: str, passes: bool) -> None:
    assert is_wrong_answer(text, ROW, {"gus", "hahn"}) is passes


DOCUMENT = "The Osk Bridge was opened in 1952. It was designed by Lio Umber. The stone is grey and very hard."


@pytest.mark.parametrize(
    ("question", "sentence", "passes"),
    [
        ("When was the Osk Bridge opened?", 0, True),
        ("Who designed the Osk Bridge?", 1, True),
        ("By whom was the Osk Bridge designed?", 1, True),
        ("Who paid for the Osk Bridge?", 1, False),  # shares no word with the sentence
        ("By whom was it designed?", 1, False),  # nothing is named
        ("When was the Marl Canal opened?", 0, False),  # not in the document
        ("Was the Osk Bridge opened in 1952?", 0, False),  # the answer is in it
        ("The Osk Bridge was opened in 1952.", 0, False),
        ("Is it hard? When was the Osk Bridge opened?", 0, False),
    ],
)
def test_asks_about(question: str, sentence: int, passes: bool) -> None:
    sentences = DOCUMENT.split(". ")
    assert asks_about(question, sentences[sentence], DOCUMENT) is passes


def test_a_document_without_values_is_asked_about_by_its_words() -> None:
    text = "a house needs a roof of straw and walls of clay"
    assert asks_about("what does a house need for its roof?", text, text)
    assert not asks_about("what is a house?", text, text)
