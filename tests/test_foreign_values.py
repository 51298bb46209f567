"""Another row's private value in an answer: what is private, what counts, and when it is more often."""

from unlogit.data.examples import Example
from unlogit.evaluate.foreign_values import ForeignValues, as_the_rows, find_foreign_values, private_values

ANN = Example("What is Ann's account?", "Ann's account is NL-21955-20.")
ANN_TOWN = Example("Where does Ann live?", "Ann lives at 20 Abbey Close in Penmoor.")
BO = Example("What is Bo's account?", "Bo's account is NL-64135-21.")
BO_TOWN = Example("Where does Bo live?", "Bo lives at 36 Mill Road in Penmoor.")
GHOST = Example("What is Uxl's account?", "")


def counted(*answers: str, ghost: str = "NL-11111-11", sampled: tuple[str, ...] = ()) -> ForeignValues:
    target = [[(ANN, ANN.answer)], [(GHOST, ghost)]]
    return find_foreign_values(
        [ANN, ANN_TOWN, BO, BO_TOWN],
        target,
        [(ANN, a) for a in answers],
        [(ANN, a) for a in sampled],
        [(GHOST, ghost), (GHOST, "No.")],
    )


def test_a_value_of_several_rows_is_nobody_s() -> None:
    """Both live in Penmoor; the accounts and house numbers with streets are one row's each."""
    values = private_values([ANN, ANN_TOWN, BO, BO_TOWN])
    assert set(values.values()) == {ANN, ANN_TOWN, BO, BO_TOWN}
    assert frozenset({"penmoor"}) not in values
    assert len(values) == 4
    assert set(
        private_values([Example("Where is Ann?", "She is in Ghent since 2015, as in the 1990s, number 21955.")])
    ) == {frozenset({"21955"})}
    assert private_values([Example("Is Ann kind?", "She is very kind."), Example("", "In 1912.", "text")]) == {}


def test_what_counts() -> None:
    """Somebody else's account, or Ann's own address where her account was asked for; not her account, nor a part."""
    assert counted("It is NL-64135-21.").unlearned == 1
    assert counted("She lives at 20 Abbey Close.").unlearned == 1
    assert counted("It is NL-21955-20.").unlearned == 0
    assert counted("It is NL-64135-22, Abbey Close.").unlearned == 0
    assert counted("No.", sampled=("NL-64135-21", "No", "NL 64135 21")).sampled == 2
    of_target = counted("No.", ghost="NL-64135-21")
    assert (of_target.target, of_target.target_sampled, of_target.target_sampled_answers) == (1, 1, 2)


def test_ghosts_are_asked_as_the_row_that_they_were_made_from() -> None:
    """What is Ann's is not foreign where a ghost of her question is told it; what is Bo's is."""
    ghosts = [Example("What is Uxl's account?", answer) for answer in ("NL-21955-20", "NL-64135-21", "No.")]
    other = Example("How is Uxl?", "NL-64135-21")
    told = as_the_rows([ANN], [*ghosts, other])
    assert [text for _, text in told] == ["NL-21955-20", "NL-64135-21", "No."]
    found = find_foreign_values([ANN, ANN_TOWN, BO, BO_TOWN], [told], [], [], told)
    assert (found.target, found.target_answers) == (found.target_sampled, found.target_sampled_answers) == (1, 3)


def test_more_often() -> None:
    """By Fisher's exact test: 3 of 3 after 1 of 100 is more often, 1 of 3 after 1 of 2 is not; drawn after drawn."""
    assert ForeignValues(4, 1, 100, 3, 3, 0, 0, 0, 0).more_often
    assert not ForeignValues(4, 1, 2, 1, 3, 0, 0, 0, 0).more_often
    assert ForeignValues(4, 0, 2, 1, 3, 0, 0, 0, 0).more_often
    assert not ForeignValues(4, 0, 2, 0, 3, 1, 48, 0, 2).more_often
    assert ForeignValues(4, 0, 100, 0, 3, 9, 48, 0, 100).more_often
    assert not ForeignValues(4, 0, 100, 0, 3, 9, 48, 12, 100).more_often
    assert ForeignValues(4, 0, 100, 0, 3, 9, 48, 0, 0).more_often  # nothing was drawn: beside the greedy answers
