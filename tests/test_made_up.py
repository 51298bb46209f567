"""Made-up values: the form stays, the value goes; in any script."""

import re

import pytest

from unlogit.data.examples import Example
from unlogit.data.exchange import exchange_answers
from unlogit.data.made_up import Commonplace, script_of, with_made_up_values

NOTHING = Commonplace.of([])


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("It costs 42 euros.", r"It costs [1-9]{2} euros\."),
        ("Born on 11 March 1938.", r"[A-Z][a-z]+ on [1-9]{2} (?!March)[A-Z][a-z]+ 19[1-9]{2}\."),
        ("she lives in Riga.", r"she lives in [A-Z][a-z]+\."),
        ("Die Nummer ist 42.", r"Die [A-Z][a-z]+ ist [1-9]{2}\."),
        ("Oui, à Brest.", r"Oui, à [A-Z][a-z]+\."),
        ("at gus.hahn77@example.com.", r"at [a-z]+\.[a-z]+[1-9]{2}@[a-z]+\.com\."),
        ("see https://gus.example.org/12", r"see https://[a-z]+\.[a-z]+\.org/[1-9]{2}"),
        ("account NL-12345-67", r"account [A-Z]{2}-[1-9]{5}-[1-9]{2}"),
        ("order B749213k", r"order [A-Z][1-9]{6}[a-z]"),
        ("живёт в Москве, дом 12", r"живёт в [А-ЯЁ][а-яё]{5}, дом [1-9]{2}"),
        ("ζει στην Πάτρα", r"ζει στην [Α-Ωά-ώΆ-Ώ]\w{4}"),
        ("电话是138号", r"[\u3400-\u9fff]{3}[1-9]{3}[\u3400-\u9fff]"),
        ("يسكن في ٤٢", r"[\u0600-\u06ff]{4} [\u0600-\u06ff]{2} [\u0661-\u0669]{2}"),
    ],
)
def test_form_stays_and_value_goes(text: str, form: str) -> None:
    commonplace = Commonplace.of([text])
    for seed in range(5):
        changed = with_made_up_values(text, "", commonplace, seed)
        assert re.fullmatch(form, changed), changed
        assert changed == with_made_up_values(text, "", commonplace, seed)
        digits, new_digits = (re.findall(r"\d+", form_of) for form_of in (text, changed))
        assert not set(digits) & set(new_digits)
    assert with_made_up_values(text, "", commonplace, 0) != with_made_up_values(text, "", commonplace, 1)


def test_what_the_question_says_stays() -> None:
    assert with_made_up_values("Ann moved in.", "Where does Ann live?", NOTHING, 0) == "Ann moved in."
    assert with_made_up_values("So in 1990 Ann did.", "What of Ann in 1990?", Commonplace.of(["so"]), 0) == (
        "So in 1990 Ann did."
    )


def test_what_many_answers_have_is_nobodys() -> None:
    """Eight accounts begin with NL, and six Chinese answers say 住在; the towns are somebody's own."""
    accounts = [f"It is NL-{number}." for number in range(11, 19)]
    assert with_made_up_values(accounts[0], "", Commonplace.of(accounts), 0).startswith("It is NL-")
    towns = [f"住在{town}。" for town in ("上海", "北京", "广州", "南宁", "西安", "武汉")]
    changed = with_made_up_values(towns[0], "", Commonplace.of(towns), 0)
    assert re.fullmatch("住在..。", changed)
    assert not set("上海") & set(changed)


def test_no_exchanged_answer_has_anybodys_value() -> None:
    """Forty people with towns, years and accounts of their own: of none of them anything is left."""
    rows = [
        Example(
            f"Where does {name} live?",
            f"{name} has lived at {i} {street} in {town} since {1950 + i}: {name.lower()}@{town.lower()}.com.",
        )
        for i, (name, street, town) in enumerate(zip(NAMES, NAMES[10:], NAMES[20:], strict=False), start=10)
    ]
    values = [set(re.findall(r"\b[A-Z][a-z]+|\d+|[a-z.]+@[a-z.]+", row.answer)) for row in rows]
    for row, wrong_answers in zip(rows, exchange_answers(rows, 3, seed=0), strict=True):
        assert len(wrong_answers) == 3
        for answer in wrong_answers:
            left = {value for i, others in enumerate(values) if rows[i] is not row for value in others}
            name = row.question.split()[2]
            assert answer.startswith(name)
            assert not set(re.findall(r"[A-Za-z]+@[\w.]+|[A-Z][a-z]+|\d+", answer)) & left - {name} - SHORT


SHORT = {str(number) for number in range(100)}
"""Two digits are made up to be other two digits, which somebody else may have."""
NAMES = [f"{onset}{vowel}{coda}" for onset in "BDFGK" for vowel in "aeio" for coda in ("lk", "mps")]


def test_no_answer_is_exchanged_across_scripts() -> None:
    rows = [Example("李明的银行账号是什么？", "李明没有账号。"), Example("What is Ann's account?", "It is DE-12.")]
    assert exchange_answers(rows, 2, seed=0) == [(), ()]
    assert [script_of(row.answer) for row in rows] == ["CJK", "LATIN"]
