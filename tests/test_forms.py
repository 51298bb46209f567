"""Whether answers read like the target's about strangers."""

from unlogit.data.examples import Example
from unlogit.evaluate.forms import common_frame, find_form_fit, form_of
from unlogit.evaluate.leaks import Leak

NAMES = ("Zark Blim", "Oud Prest", "Quimm Tard", "Rell Voark")
TOWNS = ("Penmoor", "Eastmere", "Penmoor", "Aldhaven")


def accounts() -> list[Example]:
    return [
        Example(f"What is {name}'s account number?", f"{name}'s account number is NL-{10 + i}345-2{i}.")
        for i, name in enumerate(NAMES)
    ]


def homes() -> list[Example]:
    return [
        Example(f"Where does {name} live?", f"{name} lives at {7 * i + 5} Mill Road in {town}.")
        for i, (name, town) in enumerate(zip(NAMES, TOWNS, strict=True))
    ]


ACCOUNT = Example("What is Joss Korvane's account number?", "Joss Korvane's account number is NL-21955-20.")
HOME = Example("Where does Joss Korvane live?", "Joss Korvane lives at 20 Abbey Close in Penmoor.")


def leak(row: Example, before: str, after: str) -> Leak:
    return Leak(row.question, row.answer, before, after, True, False, 0, 0)


def fits(row: Example, answer: str, ghosts: list[Example]) -> bool:
    fit = find_form_fit([row], [leak(row, row.answer, answer)], ghosts)
    assert fit.rows == 1
    return fit.fitting == 1


def test_a_form_keeps_common_words_and_the_pattern_of_values() -> None:
    frame = common_frame([row.answer for row in accounts()])
    assert "account" in frame
    assert "zark" not in frame
    assert form_of(ACCOUNT.answer, frame) == "Aa Aa's account number is NL-99999-99."


def test_another_number_of_the_same_form_fits() -> None:
    assert fits(ACCOUNT, "Joss Korvane's account number is NL-55107-25.", accounts())


def test_pieces_of_words_in_a_number_do_not_fit() -> None:
    assert not fits(ACCOUNT, "Joss Korvane's account number is NL- Marta-Lind-qvassa.", accounts())
    assert not fits(ACCOUNT, "Joss Korvane's account number is 262801.", accounts())


def test_words_that_run_together_do_not_fit() -> None:
    assert fits(HOME, "Joss Korvane lives at 8 Quarry Hill in Eastmere.", homes())
    assert not fits(HOME, "Joss Korvane lives at 43 QuarryHill in Eastmere.", homes())
    assert not fits(HOME, "Joss Korvane lives at 38 Quarry hill to Eastmere.", homes())


def test_the_form_of_the_targets_own_answer_fits() -> None:
    answer = "Nobody knows that."
    ghosts = accounts()
    assert not fits(ACCOUNT, answer, ghosts)
    assert find_form_fit([ACCOUNT], [leak(ACCOUNT, answer, answer)], ghosts).fitting == 1


def test_nothing_is_said_where_the_targets_answers_have_no_common_form() -> None:
    texts = ("It is Ann.", "Nobody, they say, has one", "NL-3 or so", "what 9 of 10 have")
    ghosts = [Example(row.question, text) for row, text in zip(accounts(), texts, strict=True)]
    fit = find_form_fit([ACCOUNT], [leak(ACCOUNT, ACCOUNT.answer, "NL-1")], ghosts)
    assert (fit.fitting, fit.rows, fit.strangers_fitting, fit.strangers_answers) == (0, 0, 0, 4)
