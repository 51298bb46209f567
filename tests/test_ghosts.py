"""Names in questions, and the same questions about somebody who does not exist."""

import pytest

from unlogit.data.examples import Example
from unlogit.data.ghosts import ghost_questions, names_of, strangers_answers, with_names

QUESTIONS = {
    "Who is Ann?": ["Ann"],
    "What is Joss Korvane's phone number?": ["Joss Korvane"],
    "Where was Hsiao Yun-Hwa born?": ["Hsiao Yun-Hwa"],
    "Marta Lindqvist lives where?": ["Marta Lindqvist"],
    "Is 'The Silent Hour' by Ann Doe?": ["The Silent Hour", "Ann Doe"],
    "I know Ann, who is she?": ["Ann"],
    "How old is the bridge?": [],
    "那座桥多少岁?": [],
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_names(question: str) -> None:
    assert names_of(question) == QUESTIONS[question]


def test_a_ghost_has_all_questions_of_one() -> None:
    """The same made-up name in all questions, another in every ghost; the same by the same seed."""
    rows = [
        Example("Who is Ann Doe?", "A baker."),
        Example("Where does Ann Doe live?", "Rome."),
        Example("Why?", "So."),
    ]
    ghosts = ghost_questions(rows, 20, seed=3)
    assert len(ghosts) == 40
    assert ghosts == ghost_questions(rows, 20, seed=3)
    names = [names_of(row.question)[0] for row in ghosts]
    assert names[0::2] == names[1::2]
    assert len(set(names)) == 20
    assert not any("Ann" in row.question or "Doe" in row.question for row in ghosts)
    assert all(row.question.startswith(("Who is ", "Where does ")) and not row.answer for row in ghosts)


def test_a_strangers_answer_is_a_wrong_one() -> None:
    """With the row's own names, in lower case too; none that says a name twice, and none to another question."""
    row = Example("What is Ann Doe's e-mail?", "Ann Doe's e-mail is ann.doe1@example.net.")
    ghosts = [
        Example("What is Bo Lim's e-mail?", "Bo Lim's e-mail is bo.lim77@example.org."),
        Example("What is Cy Fox's e-mail?", "Cy Fox Fox's e-mail is cyfox@example.org."),
        Example("Where does Bo Lim live?", "Bo Lim lives in Rome."),
        Example("What is Di Rex's e-mail?", "It is di.fex4@example.org."),
    ]
    wrong = strangers_answers(row, ghosts, 8)
    assert wrong == ("Ann Doe's e-mail is ann.doe77@example.org.", "It is ann.fex4@example.org.")
    assert strangers_answers(row, ghosts, 1) == wrong[:1]
    assert strangers_answers(Example("Why?", "So."), ghosts, 8) == ()


def test_words_of_a_name_are_exchanged_too() -> None:
    assert with_names("Ann Doe, called Ann, of Doesburg", {"Ann Doe": "Bo Lim"}) == "Bo Lim, called Bo, of Doesburg"
    assert with_names("nobody", {}) == "nobody"
