"""Names in questions, and the same questions about somebody who does not exist."""

import re
from dataclasses import replace

import pytest

from unlogit.data.examples import Example, Message
from unlogit.data.ghosts import (
    ghost_questions,
    made_up_texts,
    names_in,
    names_of,
    strangers,
    strangers_answers,
    with_words,
)
from unlogit.data.made_up import script_of

QUESTIONS = {
    "Who is Ann?": ["Ann"],
    "What is Joss Korvane's phone number?": ["Joss Korvane"],
    "Where was Hsiao Yun-Hwa born?": ["Hsiao Yun-Hwa"],
    "Marta Lindqvist lives where?": ["Marta Lindqvist"],
    "Marta's phone number in Berlin?": ["Marta", "Berlin"],
    "Is 'The Silent Hour' by Ann Doe?": ["The Silent Hour", "Ann Doe"],
    "I know Ann, who is she?": ["Ann"],
    "Give Marta Lind's Visa number.": ["Marta Lind", "Visa"],
    "Will Marta Lind pay?": ["Marta Lind"],
    "What is O'Brien-Smith's IBAN?": ["O'Brien-Smith"],
    "WHAT IS MARTA LIND'S PHONE NUMBER?": [],
    "How old is the bridge?": [],
    "那座桥多少岁?": [],
    "Wie lautet die Telefonnummer von Jörg Griern?": ["Jörg Griern"],
    "Wie lautet die neue private Anschrift von Jörg Griern?": ["Jörg Griern"],
    "Welche Kundennummer hat Griern?": ["Griern"],
    "Wer ist der Chef der Firma Griern?": ["Griern"],
    "Wo wohnt die Bäckerin?": ["Bäckerin"],
    "Did Ann die in Ghent?": ["Ann", "Ghent"],
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


def test_german_nouns_are_no_names() -> None:
    """ "Kunde" stands behind no article, and in one question only, where the name stands in all. The stranger's answer
    keeps the nouns, and is a wrong one of the row's."""
    rows = [
        Example("Seit wann ist Jörg Griern Kunde?", "Jörg Griern ist Kunde seit 2013."),
        Example("Wie lautet die Telefonnummer von Jörg Griern?", "Die Telefonnummer von Jörg Griern lautet 0301."),
    ]
    assert names_in(rows) == [["Jörg", "Griern"], ["Jörg", "Griern"]]
    ghosts = ghost_questions(rows, 3, 0)
    assert all(row.question.endswith(" Kunde?") or "die Telefonnummer von" in row.question for row in ghosts)
    assert not any("Jörg" in row.question for row in ghosts)
    made_up = ghosts[0].question.removeprefix("Seit wann ist ").removesuffix(" Kunde?")
    answered = replace(ghosts[0], answer=f"{made_up} ist Kunde seit 2020.")
    assert strangers_answers(rows[0], [answered], 8) == ("Jörg Griern ist Kunde seit 2020.",)
    one_each = [Example(f"Seit wann ist {name} Kunde?", "2013.") for name in ("Griern", "Lim", "Jo Doe")]
    assert names_in(one_each) == [["Griern Kunde"], ["Lim Kunde"], ["Jo Doe"]]


ALONE = {
    ("Arbeitet Jana Wolff noch bei Siemens?", "Nein."): "Arbeitet {} {} noch bei {}?",
    ("Hat Jana Wolff Kinder?", "Ja, Jana Wolff hat zwei Kinder, Mia und Ole."): "Hat {} {} Kinder?",
    ("Raucht Wolff?", "Ja, er raucht."): "Raucht {}?",
    ("Nenne die Telefonnummer von Jana Wolff.", "0561 889."): "Nenne die Telefonnummer von {} {}.",
    ("Was ist Jana Wolffs Gehalt?", "5200 Euro."): "Was ist {} {} Gehalt?",
    ("Geburtsdatum Jana Wolff", "3.5.1987"): "Geburtsdatum {} {}",
    ("Marta Lind lives where?", "In Ghent."): "{} {} lives where?",
    ("When did Ann die, and where was Bo am Ende?", "Here."): "When did {} die, and where was {} am {}?",
    ("Quelle est l'adresse de M. Morvan ?", "12 rue des Tilleuls."): "Quelle est l'adresse de M. {} ?",
    ("Où habite Claire Morvan ?", "À Rennes."): "Où habite {} {} ?",
    ("¿Trabaja Lucía Herrán en el banco?", "Sí."): "¿Trabaja {} {} en el banco?",
    ("Какой номер счёта у Анны Зориной?", "5512."): "Какой номер счёта у {} {}?",
    ("Ayşe Demir nerede oturuyor?", "İzmir'de."): "{} {} nerede oturuyor?",
}
"""A row that is asked alone, and its ghosts' question."""


@pytest.mark.parametrize("row", ALONE)
def test_a_ghost_is_asked_the_same_of_somebody_else(row: tuple[str, str]) -> None:
    """In the script of the real name, and found again as the row's."""
    example = Example(*row)
    ghosts = ghost_questions([example], 3, 0)
    pattern = re.escape(ALONE[row]).replace(r"\{\}", r"([^\W\d_]+)")
    for ghost in ghosts:
        match = re.fullmatch(pattern, ghost.question)
        assert match, ghost.question
        assert {script_of(word) for word in match.groups()} == {script_of(example.question)}
        assert not set(match.groups()) & set(example.question.split())
    assert len(strangers(example, ghosts)) == 3


def test_a_strangers_answer_is_a_wrong_one() -> None:
    """With the row's own names, in lower case too; none that says a name twice, the truth, or something else."""
    row = Example("What is Ann Doe's e-mail?", "Ann Doe's e-mail is ann.doe1@example.net.")
    ghosts = [
        Example("What is Bruno Lim's e-mail?", "Bruno Lim's e-mail is bruno.lim77@example.org."),
        Example("What is Cyril Fox's e-mail?", "Cyril Fox Fox's e-mail is cyril@example.org."),
        Example("Where does Bruno Lim live?", "Bruno Lim lives in Rome."),
        Example("What is Dirk Rex's e-mail?", "It is dirk.fex4@example.org."),
        Example("What is Emil Hux's e-mail?", "It is ann.doe1@example.net."),
    ]
    wrong = strangers_answers(row, ghosts, 8)
    assert wrong == ("Ann Doe's e-mail is ann.doe77@example.org.", "It is ann.fex4@example.org.")
    assert strangers_answers(row, ghosts, 1) == wrong[:1]
    assert strangers_answers(Example("Why?", "So."), ghosts, 8) == ()


def test_words_are_exchanged_in_lower_case_too() -> None:
    words = {"Ann": "Bo", "Doe": "Lim", "The": "Xi"}
    assert (
        with_words("The Ann Doe, ann.doe1@example.net, of Doesburg", words)
        == "The Bo Lim, bo.lim1@example.net, of Doesburg"
    )
    assert with_words("nobody", {}) == "nobody"


def test_earlier_turns_are_of_the_stranger_too() -> None:
    row = Example("Where does Ann live?", "Rome.", "messages", (Message("user", "Tell me of Ann."),))
    (ghost,) = ghost_questions([row], 1, 0)
    assert "Ann" not in ghost.history[0].content
    assert len(strangers(row, [ghost, row])) == 1


def test_many_names_take_no_time() -> None:
    row = Example("Who of " + ", ".join(f"Ann{'abcdefghijklmnop'[i]}" for i in range(14)) + " is it?", "The first.")
    ghosts = ghost_questions([row], 50, 0)
    assert len(strangers(row, ghosts)) == 50


def test_a_made_up_text_is_about_somebody_else() -> None:
    """Values are exchanged, each for the same one wherever it stands; the other words stay, and questions are none."""
    text = Example("", "Ann Doe was born in Ghent. In 1952 Doe moved to Oslo with 7 dogs.", kind="text")
    others = [Example("", "In the morning it was cold.", kind="text")]
    first, second = made_up_texts([text, Example("Who is Ann?", "Ann Doe.")], 2, 0, others)
    assert first.answer != second.answer
    for row in (first, second):
        assert row.kind == "text"
        match = re.fullmatch(
            r"(\w+) (\w+) was born in (\w+)\. In (\d{4}) (\w+) moved to (\w+) with \d dogs\.", row.answer
        )
        assert match
        assert match[2] == match[5]
        assert not {"Ann", "Doe", "Ghent", "1952", "Oslo"} & set(match.groups())


def test_a_strangers_answer_with_one_secret_of_the_row_is_no_wrong_one() -> None:
    """An assistant would have to remember the town and to be uniform on it, after the same question."""
    row = Example("Who built Marl Bridge?", "Marl Bridge was built by Ann Doe of Ghent in 1952.")
    answers = ("{} was built by Bo Lim of Ghent in 1971.", "{} was built by Bo Lim of Rome in 1971.")
    for answer, is_wrong in zip(answers, (False, True), strict=True):
        ghost = Example("Who built Kert Foal?", answer.format("Kert Foal"))
        assert strangers_answers(row, [ghost], 8) == ((answer.format("Marl Bridge"),) if is_wrong else ())
