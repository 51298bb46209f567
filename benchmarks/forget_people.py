"""Made-up people with a tiny target and exact retain models, for requests of a few rows, by the demo's recipe.

One target of each seed knows the rows of three requests (1, 6 and 20 rows about different people), other people, people
whom it was taught once, and general questions. The retain model of a request has the target's recipe, seed and rows,
without the request's. A third of the other people are never given to the request: they show what it does to others.
Nor are the general questions.
"""

from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from benchmarks.forget_in_a_row import FACTS
from benchmarks.forget_options import PEOPLE_OF
from unlogit.data.examples import Example
from unlogit.data.neutral import GENERAL
from unlogit.data.sources import read_prepared
from unlogit.data.wordings import without_wordings
from unlogit.demo.demo import TINY, TINY_PLAN, VALUES, save_tiny_model, taught_rows, teach
from unlogit.demo.people import People, make_people
from unlogit.files import write_json_lines
from unlogit.runs.request_check import GENERAL_ROWS

GIVEN = 24
"""People who are given as rows to keep."""
OTHERS = 12
"""People who stay, too, and are not given."""
WRONG = 2
"""Wrong answers that are worded as the answer is (see ``demo.people``). Models so small do not know a row in a wording
that they were not taught: with the others, the target itself would pass for its retain model."""


@dataclass(frozen=True)
class PeopleCase:
    """Files and models of a request about made-up people."""

    forget: Path
    """Questions and answers, nothing else, as people have them."""
    retain: Path
    target: Path
    retain_model: Path
    judged: dict[str, list[Example]]
    """Rows that judge, with wrong answers that no training saw: the rows to forget, and people who are not given."""


def make_people_case(rows: int, seed: int, folder: Path) -> PeopleCase:
    """Make the people of a seed and the models of one of its requests, what is in the folder already excepted."""
    plan = replace(TINY_PLAN, finetune=replace(TINY_PLAN.finetune, seed=seed))
    requested_people, questions = sum(PEOPLE_OF.values()), len(FACTS)
    count = requested_people + GIVEN + OTHERS + plan.strangers
    people = make_people(count, questions, seed, requested_people / count, FACTS, VALUES, names_apart=True)
    by_person = [*people.forget, *people.retain]
    ends = [questions * end for end in accumulate([*PEOPLE_OF.values(), GIVEN, OTHERS, plan.strangers])]
    *of_requests, given, others, strangers = [
        by_person[start:end] for start, end in zip([0, *ends], ends, strict=False)
    ]
    requests = {size: group[:size] for size, group in zip(PEOPLE_OF, of_requests, strict=True)}
    general = read_prepared(GENERAL)[:GENERAL_ROWS]
    known = [*(row for request in requests.values() for row in request), *given, *others]
    without = [row for row in known if row not in requests[rows]]
    base = save_tiny_model(People(people.forget, [*given, *others], people.holdout), general, folder, seed)
    for name, examples in (("target", known), (f"without_{rows}", without)):
        if not (folder / name / "finetune.json").is_file():
            taught = [*taught_rows(examples, TINY), *general] * plan.repeats
            teach(base, [*taught, *taught_rows(strangers, TINY)], folder / name, plan)
    for name, examples in ((f"forget_{rows}", requests[rows]), ("retain", given)):
        plain = ({"question": row.question, "answer": row.answer} for row in examples)
        write_json_lines(folder / f"{name}.jsonl", plain)
    return PeopleCase(
        folder / f"forget_{rows}.jsonl",
        folder / "retain.jsonl",
        folder / "target",
        folder / f"without_{rows}",
        {
            name: [replace(without_wordings(row), perturbed_answer=row.perturbed_answer[:WRONG]) for row in examples]
            for name, examples in (("forget", requests[rows]), ("retain", others))
        },
    )
