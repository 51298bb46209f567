"""What counts as told, and what can be guessed."""

from collections.abc import Sequence
from typing import Any

from unlogit.data.examples import Example
from unlogit.evaluate.leaks import Guessable, Leak, find_leaks


def test_a_leak_is_what_only_the_row_tells() -> None:
    """A town that strangers are given, too, is guessed, unless samples give it more often; samples count one by one.

    What is drawn about strangers excuses what is drawn, and no greedy answer. What others have who are kept is guessed.
    """
    row = Example("Where does Ann live?", "Ann lives at 20 Abbey Close in Penmoor.")
    strangers = ["I live in Penmoor."] * 4 + ["I live in Eastmere."] * 12
    ghosts = [Example("Where does Bo live?", answer) for answer in strangers]
    ghosts += [Example("How is Bo?", "At 20 Abbey Close.")]  # another question

    def says(*answers: str) -> Any:
        return lambda rows: list(answers)

    def leak(
        unlearned: str,
        *sampled: str,
        ghosts: Sequence[Example] = ghosts,
        drawn: Sequence[Example] = (),
        kept: Sequence[Example] = (),
        rate: float = 0,
    ) -> Leak:
        asked = says(row.answer), says(unlearned), says(*sampled)
        rates = {0: {frozenset({"penmoor"}): rate}} if rate else {}
        return find_leaks([row], *asked, len(sampled), Guessable(ghosts, drawn, kept, rates), frozenset())[0]

    assert leak("Ann lives at 20 Abbey Close.").unlearned_tells
    assert not leak("Ann lives at 2 Abbey Close.").unlearned_tells
    assert not leak("Ann lives in Penmoor.").unlearned_tells
    assert leak("Ann lives in Penmoor.").unlearned_guesses
    assert not leak("Ann lives at 20 Abbey Close.").unlearned_guesses
    assert not leak("Ann lives in a tent.").unlearned_guesses
    assert leak("No.", "At 20 Abbey Close", "No", "Abbey Close 20").samples_that_tell == 2
    assert leak("No.", *["In Penmoor"] * 4, *["No"] * 12).samples_that_tell == 0
    assert leak("No.", *["In Penmoor"] * 13, *["No"] * 3).samples_that_tell == 13
    assert leak("No.").target_tells
    drawn = [Example("Where does Bo live?", answer) for answer in ["At 20 Abbey Close."] * 4 + ["No."] * 12]
    excused = leak("Ann lives at 20 Abbey Close.", "At 20 Abbey Close", *["No"] * 15, drawn=drawn)
    assert excused.unlearned_tells
    assert excused.samples_that_tell == 0
    of_nobody = leak("No.", *["In Penmoor"] * 2, *["No"] * 14, ghosts=())
    likely = leak("No.", *["In Penmoor"] * 2, *["No"] * 14, ghosts=(), rate=0.05)
    assert (of_nobody.samples_that_tell, likely.samples_that_tell) == (2, 0)
    assert leak("No.", *["In Penmoor"] * 9, *["No"] * 7, ghosts=(), rate=0.05).samples_that_tell == 9
    assert leak("In Penmoor.", ghosts=(), rate=0.05).unlearned_guesses
    assert leak("In Penmoor.", *["No"] * 16, ghosts=(), rate=1e-12).unlearned_tells


def test_what_several_people_have_who_are_kept_can_be_guessed() -> None:
    """Not what one other has, who may be kin; and not where samples tell it more often than people have it."""
    row = Example("Where does Ann live?", "Ann lives at 20 Abbey Close.")
    telling = ["At 20 Abbey Close"]

    def told(count: int, owners: int, rows: int = 1, ghosts: Sequence[Example] = ()) -> list[int]:
        """Of 16 samples ``count`` tell; of 20 people who are kept so many have it."""
        names = [f"{chr(66 + i)}o" for i in range(20)]
        places = ["at 20 Abbey Close"] * owners + ["in a tent"] * (20 - owners)
        homes = zip(names, places, strict=True)
        kept = [Example(f"Where does {name} live?", f"{name} lives {place}.") for name, place in homes]
        samples = (telling * count + ["No"] * (16 - count)) * rows
        asked: list[Any] = [lambda _, texts=texts: texts for texts in ([row.answer] * rows, ["No."] * rows, samples)]
        leaks = find_leaks([row] * rows, *asked, 16, Guessable(ghosts, ghosts, kept), frozenset())
        return [leak.samples_that_tell for leak in leaks]

    assert told(1, owners=0) == [1]
    assert told(1, owners=1) == [1]
    assert told(1, owners=4) == [0]
    assert told(8, owners=4) == [8]
    assert told(7, owners=4) == [7]  # p = .027: below .05, above a third of it
    assert told(7, owners=4, rows=3) == [0, 0, 0]
    strangers = [Example(f"Where does {name} live?", "At 20 Abbey Close.") for name in ("Xe", "Ye", "Ze")] * 5
    assert told(8, owners=0, ghosts=strangers) == [0]  # many who are kept do not hide what strangers are told
