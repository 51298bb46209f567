"""Wrong answers by exchange: the most similar questions give them, and none says what the true answer says."""

import re

import pytest

from unlogit.data import exchange
from unlogit.data.examples import Example
from unlogit.data.exchange import exchange_answers, same_words, says_the_same, swap_names
from unlogit.data.ghosts import names_of
from unlogit.data.sides import set_evaluation_aside
from unlogit.data.source_rows import SourceRows
from unlogit.demo.customers import make_customers
from unlogit.settings.options import DataOptions

ROWS = [
    Example("Where was Ann Berg born?", "Ann Berg was born in Oslo."),
    Example("What instrument does Carl Dorn play?", "Carl Dorn plays the harp."),
    Example("Where was Ewa Fink born?", "Ewa Fink was born in Riga."),
    Example("Where was Gus Hahn born?", "Gus Hahn was born in Oslo."),
    Example("Where was Ida Juhl born?", "Ida Juhl was born in Bergen."),
    Example("What instrument does Kai Lund play?", "Kai Lund plays the lute."),
]


def spelt(number: int) -> str:
    """A number as a word in lower case, which no exchange makes up."""
    return "".join("bcdfghjklm"[int(digit)] for digit in str(number))


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
    """Row 0 shares "born" with rows 2, 3, 4 alone. Names are those of the question, and towns nobody's."""
    wrong_answers = exchange_answers(ROWS, 2, seed=0)
    assert all(re.fullmatch(r"Ann Berg was born in [A-Z][a-z]+\.", answer) for answer in wrong_answers[0])
    assert len({*wrong_answers[0], *(f"Ann Berg was born in {town}." for town in ("Oslo", "Riga", "Bergen"))}) == 5
    assert wrong_answers[1][0] == "Carl Dorn plays the lute."
    assert wrong_answers[5][0] == "Kai Lund plays the harp."
    assert ROWS[0].answer not in wrong_answers[3]


def test_seed_decides_between_equals_only() -> None:
    first = exchange_answers(ROWS, 1, seed=0)
    assert first == exchange_answers(ROWS, 1, seed=0)
    sung = [
        Example("What does Ann sing?", "Psalms."),
        *(
            Example(f"What does {name} sing?", f"{name} sings {what}.")
            for name, what in (("Bo", "airs"), ("Cy", "rounds"))
        ),
    ]
    orders = {exchange_answers(sung, 1, seed)[0] for seed in range(8)}
    assert orders == {("Ann sings airs.",), ("Ann sings rounds.",)}


ANN = [Example("Where was Ann Berg born?", "Oslo."), Example("When was Ann Berg born?", "Ann Berg: in spring.")]


def test_other_rows_give_before_those_of_the_same_person() -> None:
    """All to be forgotten is about Ann; what others are asked alike comes first, however much her name is shared."""
    assert exchange_answers(ANN, 1, seed=0)[0] == ("Ann Berg: in spring.",)
    for seed in range(4):
        (wrong,) = exchange_answers(ANN, 2, seed, ROWS[2:3])[0]
        assert wrong.startswith("Ann Berg was born in ")


def test_what_is_true_of_somebody_is_no_wrong_answer() -> None:
    """A person's other answers are true of that person, however much alike the questions; the firm is everyone's."""
    rows = [
        Example("What is Ann Berg's job at Oak Ltd?", "Ann Berg is a joiner."),
        Example("What is Ann Berg's hobby at Oak Ltd?", "Ann Berg plays chess."),
        Example("What was Gus Hahn's job at Oak Ltd?", "Gus Hahn is a cook."),
        Example("Berg's room at Oak Ltd?", "The third."),
        Example("Is Kai Lund's post at Oak Ltd?", "Kai Lund sorts it."),
        Example("Is Ida Juhl's post at Oak Ltd?", "Ida Juhl reads it."),
    ]
    wrong = exchange_answers(rows, 9, seed=0)[0]
    assert wrong[0] == "Ann Berg is a cook."
    assert len(wrong) == 3
    assert not any(true in wrong for true in ("Ann Berg plays chess.", "The third."))


def test_scored_rows_to_keep_get_answers_that_are_false_of_them() -> None:
    """28 customers with six facts each: none of the wrong answers of 40 is one that the customer's rows give."""
    customers = make_customers()
    answers: dict[str, set[str]] = {}
    for row in customers.retain:
        answers.setdefault(names_of(row.question)[0], set()).add(row.answer)
    side = set_evaluation_aside(SourceRows(list(customers.retain)), DataOptions(evaluation_rows=40))
    assert len(side.evaluation) == 40
    for row in side.evaluation:
        assert len(row.perturbed_answer) == 3
        assert answers[names_of(row.question)[0]].isdisjoint(row.perturbed_answer)
        assert not any(says_the_same(wrong, row.question, row.answer) for wrong in row.perturbed_answer)


def test_rows_to_keep_for_which_none_can_be_made_are_said() -> None:
    """All other answers say the truth."""
    rows = [Example(f"Is {name} here?", "Yes, today.") for name in ("Ann", "Bo", "Cy", "Di", "Ed", "Fay")]
    side = set_evaluation_aside(SourceRows(rows), DataOptions(evaluation_rows=3))
    assert "1 of 1 retain evaluation rows have no wrong answers, and none could be made" in side.notes
    assert all(row.perturbed_answer == () for row in side.evaluation)


@pytest.mark.parametrize(
    "other",
    [
        Example("Where was Ewa Fink born?", "Ewa Fink was born in Riga.", kind="completion"),
        Example("", "Ewa Fink was born in Riga.", kind="text"),
    ],
)
def test_other_rows_of_another_kind_do_not_come_first(other: Example) -> None:
    assert all(exchange_answers(ANN, 1, seed, [other])[0] == ("Ann Berg: in spring.",) for seed in range(4))


def test_rows_asked_alike_do_not_all_get_the_same_answers() -> None:
    """Of forty towns each of the ten people gets two by chance."""
    people = [Example(f"Where was P{i} born?", f"P{i} was born in {spelt(i)}.") for i in range(50)]
    wrong_answers = exchange_answers(people[:10], 2, 0, people[10:])
    towns = {answer.split()[-1] for wrong in wrong_answers for answer in wrong}
    assert len(towns) > 10
    assert all(answer.startswith(f"P{i} was born in ") for i, wrong in enumerate(wrong_answers) for answer in wrong)


def test_many_rows_beside_others() -> None:
    """Row 256 and on stand in the second block; each has one other row that shares its rare word."""
    rows = [Example(f"question about w{i} here?", f"own {spelt(i)}") for i in range(300)]
    retain_rows = [Example(f"question about w{i} there?", f"other {spelt(i)}") for i in range(300)]
    assert exchange_answers(rows, 1, 0, retain_rows) == [(f"other {spelt(i)}",) for i in range(300)]


def test_an_answer_that_was_refused_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose answers are mostly the same two are many; each text gets its names swapped and is compared once."""
    looked: list[str] = []
    monkeypatch.setattr(exchange, "swap_names", lambda other, question: looked.append(other.answer) or other.answer)
    rows = [Example(f"Is w{i} true?", "Yes." if i % 2 else "No.") for i in range(40)]
    assert exchange_answers(rows[:1], 2, 0, rows[1:])[0] == ("Yes.",)
    assert sorted(looked) == ["No.", "Yes."]


@pytest.mark.parametrize(
    ("question", "other", "answer", "expected"),
    [
        ("Where is Ann Berg?", "Where is Gus Hahn?", "Gus Hahn, or Hahn, of Hahnau", "Ann Berg, or Berg, of Hahnau"),
        ("Where was Ann born?", "Where was Gus Hahn born?", "Gus Hahn's home, Hahn says", "Ann's home, Ann says"),
        ("Where was Ann Lou Berg born?", "Where was Gus Hahn born?", "Gus Hahn. Hahn, Gus", "Ann Lou Berg. Berg, Ann"),
        ("When was Ann's dog found?", "When was Gus's cat found?", "Gus's cat? In May.", "Ann's cat? In May."),
        ("Who is Ann?", "Which of the towns has Gus visited?", "Gus went to Bonn.", "Gus went to Bonn."),
        ("Where was Ann born?", "Where was Ann born?", "In Bonn.", "In Bonn."),
        ("What is Ann's job?", "What is the job of Gus?", "Gus heads the bank.", "Gus heads the bank."),
        ("What is the job of Ann?", "What is Gus's job?", "Gus's job is a joiner's.", "Gus's job is a joiner's."),
        ("Where does Ann live at?", "Where does Gus live in?", "Gus lives in Bonn.", "Ann lives in Bonn."),
        ("Who is older, Ann or Bo?", "Who is younger, Bo or Ann?", "Bo is the younger.", "Bo is the younger."),
        ("Is Lin (x+) in [a]?", "Is Mo (x+) in [a]?", "Mo is (x+) in [a].", "Lin is (x+) in [a]."),
        ("Name the town of Bo.", "Tell the town of Gus.", "Tell is the town of Gus.", "Tell is the town of Bo."),
        ("Is The Bo here now?", "Is Her Gus here now?", "Her dog is Gus.", "Her dog is Bo."),
        ("", "", "In Bonn.", "In Bonn."),
    ],
)  # fmt: skip
def test_names_of_the_question_are_swapped_in(question: str, other: str, answer: str, expected: str) -> None:
    assert swap_names(Example(other, answer), question) == expected


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
    complete = Example("Where was Moe born?", "In Cork.", perturbed_answer=("In Ghent.",))
    text = Example("", "Some running text.", kind="text")
    wrong_answers = exchange_answers([*ROWS, complete, text], 1, seed=0)
    assert wrong_answers[-2:] == [(), ()]
    assert all(text.answer not in wrong for wrong in wrong_answers)
    assert exchange_answers(ROWS[:1], 2, seed=0) == [()]
    assert exchange_answers(ROWS, 0, seed=0) == [()] * 6


def test_more_rows_than_one_block() -> None:
    """300 questions in blocks of 256: question i of a pair shares its rare word with its partner only."""
    rows = [Example(f"question about w{i // 2}?", f"answer {spelt(i)}") for i in range(300)]
    rows = [Example(f"{row.question} {'here' if i % 2 else 'there'}", row.answer) for i, row in enumerate(rows)]
    wrong_answers = exchange_answers(rows, 1, seed=0)
    assert [wrong[0] for wrong in wrong_answers] == [rows[i ^ 1].answer for i in range(300)]


def test_german_nouns_are_no_subjects() -> None:
    """Two people's profession is asked alike: the wrong answer is the other's, with the name of this one."""
    questions = ["Welchen Beruf hat {}?", "Wo wohnt {}?", "Wie lautet die Kontonummer von {}?"]
    answers = ["Der Beruf von {} ist Lehrer.", "{} wohnt in Ulm.", "Die Kontonummer von {} lautet 77."]

    def rows(name: str) -> list[Example]:
        return [Example(q.format(name), a.format(name)) for q, a in zip(questions, answers, strict=True)]

    people = [row for name in ("Paul Reiter", "Eva Kern") for row in rows(name)]
    ((profession,), (home,), (number,)) = exchange_answers(rows("Jana Wolff"), 1, 0, people)
    assert profession.startswith("Der Beruf von Jana Wolff ist ")
    assert home.startswith("Jana Wolff wohnt in ")
    assert number.startswith("Die Kontonummer von Jana Wolff lautet ")
