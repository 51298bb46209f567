"""Made-up people with a tiny target and exact retain models, for requests of a few rows.

One target of each seed knows the rows of three requests (1, 6 and 20 rows about different people), other people, and
general questions. The retain model of a request has the target's recipe, seed and rows, without the request's. Half of
the other people are never given to the request: they show what it does to others. Nor are the general questions.
"""

from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from benchmarks.forget_options import PEOPLE_OF
from unlogit.data.examples import Example
from unlogit.data.neutral import GENERAL
from unlogit.data.sources import read_prepared
from unlogit.data.wordings import forget_training_rows, without_wordings
from unlogit.demo.people import make_people
from unlogit.demo.tiny import tiny_model, tiny_tokenizer
from unlogit.files import write_json_lines
from unlogit.model.loading import quiet
from unlogit.runs.finetune import finetune
from unlogit.runs.request_check import GENERAL_ROWS
from unlogit.settings.options import FinetuneOptions

FACTS = 6
"""Of each person."""
OTHERS = 6
"""People who may be given as rows to keep, and as many who are not."""
WORDINGS = 2
"""Paraphrases of each row that the models are taught."""
WRONG = 2
"""Wrong answers that are worded as the answer is (see ``demo.people``). Models so small do not know a row in a wording
that they were not taught: with the others, the target itself would pass for its retain model."""
RECIPE = FinetuneOptions(
    learning_rate=2e-3, epochs=22, batch_size=16, save_steps=10_000, logging_steps=200, loss_on="all", dtype="float32"
)


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
    people = make_people(sum(PEOPLE_OF.values()) + 2 * OTHERS, FACTS, seed)
    by_person = [*people.forget, *people.retain]
    ends = [FACTS * end for end in accumulate([*PEOPLE_OF.values(), OTHERS, OTHERS])]
    *requested, given, others = [by_person[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    requests = {count: group[:count] for count, group in zip(PEOPLE_OF, requested, strict=True)}
    general = read_prepared(GENERAL)[:GENERAL_ROWS]
    tokenizer = tiny_tokenizer([*by_person, *people.holdout, *general])
    known = [*(row for request in requests.values() for row in request), *given, *others]
    without = [row for row in known if row not in requests[rows]]
    quiet()
    for name, examples in (("target", known), (f"without_{rows}", without)):
        if not (folder / name / "finetune.json").is_file():
            taught = [*forget_training_rows(examples, WORDINGS), *general]
            finetune(tiny_model(tokenizer, seed), tokenizer, taught, folder / name, RECIPE, bar=False)
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
