"""Made-up people: seeded, unique, on one side only, and with wrong answers that are wrong."""

import stat
from pathlib import Path

import pytest

from unlogit.data.exchange import says_the_same
from unlogit.data.sources import read_examples
from unlogit.demo.people import FACTS, MAX_PEOPLE, make_people
from unlogit.errors import ConfigError


def test_counts() -> None:
    """20 people, a quarter to forget, 3 questions each: 15 forget rows, 45 retain rows, 15 of people held out."""
    people = make_people(20, questions=3, forget_fraction=0.25)
    assert (len(people.forget), len(people.retain), len(people.holdout)) == (15, 45, 15)


def test_sides_share_no_person() -> None:
    people = make_people(40, questions=1)
    names = [
        row.answer.partition(" was born")[0] for side in (people.forget, people.retain, people.holdout) for row in side
    ]
    assert len(set(names)) == len(names) == 44


def test_seed() -> None:
    assert make_people(5, seed=1) == make_people(5, seed=1)
    assert make_people(5, seed=1) != make_people(5, seed=2)


def test_all_names_can_be_used() -> None:
    """1600 names: 1280 people to train on and 320 to hold out."""
    people = make_people(1280, questions=1, forget_fraction=0.25)
    questions = {row.question for row in people.forget + people.retain + people.holdout}
    assert len(questions) == MAX_PEOPLE == 1600


def test_wordings() -> None:
    """Every row: a short answer, 3 paraphrases that differ from it, 5 different answers that do not say the same."""
    rows = make_people(60, questions=len(FACTS)).retain
    for row in rows:
        assert 6 <= len(row.answer.split()) <= 20
        assert len({row.question, *row.paraphrased_question}) == 4
        assert len({row.answer, *row.paraphrased_answer}) == 4
        assert len(set(row.perturbed_answer)) == 5
        assert not any(says_the_same(wrong, row.question, row.answer) for wrong in row.perturbed_answer)
        assert "{" not in str(row.to_row()["paraphrased_answer"]) + row.answer


def test_wrong_answers_differ_in_the_value_alone() -> None:
    """The first two are worded as the answer, the others as the last paraphrase."""
    row = make_people(2, questions=1).forget[0]
    value = row.answer.partition(" born in ")[2].partition(" and ")[0]
    for wrong in row.perturbed_answer[:2]:
        other = wrong.partition(" born in ")[2].partition(" and ")[0]
        assert wrong == row.answer.replace(value, other)
        assert other != value
    assert all(wrong.startswith(row.paraphrased_answer[-1][:10]) for wrong in row.perturbed_answer[2:])


def test_article_before_a_vowel() -> None:
    answers = [row.answer for row in make_people(200, questions=12).retain]
    assert any(" as an electrician" in answer for answer in answers)
    assert not any(" a electrician" in answer or " a optician" in answer for answer in answers)


def test_few_values_are_shared() -> None:
    """Of 48 people's professions, six are each somebody's in eight; asked is what was chosen, in that order."""
    rows = make_people(48, 2, facts=("profession", "city"), values=6).retain
    assert rows[0].question.startswith("What does ")
    assert rows[1].question.startswith("In which city ")
    assert len({row.answer.partition(" works as ")[2] for row in rows[::2]}) == 6
    assert make_people(3, 12) == make_people(3, 12, facts=FACTS)
    with pytest.raises(ConfigError, match="5 values of each fact, expected 6 or more, or 0"):
        make_people(3, values=5)


def test_write(tmp_path: Path) -> None:
    people = make_people(3)
    people.write(tmp_path)
    assert read_examples(str(tmp_path / "forget.jsonl")) == people.forget
    assert read_examples(str(tmp_path / "retain.jsonl")) == people.retain
    assert read_examples(str(tmp_path / "holdout.jsonl")) == people.holdout
    assert stat.S_IMODE((tmp_path / "forget.jsonl").stat().st_mode) == 0o600


def test_numbers_out_of_range_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"13 questions.*1 to 12.*forget_fraction 1\.0.*1 people"):
        make_people(1, questions=13, forget_fraction=1.0)
    with pytest.raises(ConfigError, match="1600"):
        make_people(1500)
