"""Requests one after the other: five people of a tiny target ask for deletion, six rows each, by the demo's recipe.

Each request is made of the model that the one before it left, and adds a branch. After each the target and the newest
model are asked about everybody who has gone so far, and about who stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.forget_asked import AskedRows, asked_request
from unlogit.data.examples import Example
from unlogit.data.neutral import GENERAL
from unlogit.data.sources import read_prepared
from unlogit.demo.demo import TINY, TINY_PLAN, VALUES, save_tiny_model, taught_rows, teach
from unlogit.demo.people import People, make_people
from unlogit.files import write_json_lines
from unlogit.runs.folder import RunFolder
from unlogit.runs.request_check import GENERAL_ROWS

REQUESTS = 5
FACTS = ("birthplace", "profession", "instrument", "language", "city", "hobby")


def in_a_row_seed(seed: int, folder: Path, forget: Callable[..., float]) -> dict[str, Any]:
    """Teach a target, make the requests, and return what both models say after each; what is there is not made again.

    Args:
        seed: of the people and of training.
        folder: to write into.
        forget: makes a request and returns its minutes, see ``forget_case.forget``.
    """
    questions, target = len(FACTS), folder / "target"
    plan = replace(TINY_PLAN, finetune=replace(TINY_PLAN.finetune, seed=seed))
    count = REQUESTS + plan.retained + plan.strangers
    people = make_people(count, questions, seed, REQUESTS / count, FACTS, VALUES, names_apart=True)
    kept, strangers = people.retain[: plan.retained * questions], people.retain[plan.retained * questions :]
    general = read_prepared(GENERAL)[:GENERAL_ROWS]
    if not (target / "finetune.json").is_file():
        base = save_tiny_model(People(people.forget, kept, people.holdout), general, folder, seed)
        taught = [*taught_rows([*people.forget, *kept], TINY), *general] * plan.repeats
        teach(base, [*taught, *taught_rows(strangers, TINY)], target, plan)
    _write(folder / "retain.jsonl", kept)
    model, requests = str(target), {}
    for number in range(1, REQUESTS + 1):
        gone = people.forget[: number * questions]
        forget_file = folder / f"request_{number}.jsonl"
        _write(forget_file, gone[-questions:])
        asked = {"as taught": gone, "otherwise": [_reworded(row) for row in gone]}
        rows = AskedRows(
            forget_file, [*people.forget, *kept], asked, kept, plan.finetune, retain=folder / "retain.jsonl"
        )
        run = RunFolder(folder / f"request_{number}" / f"request_{number}")  # its time is kept beside it
        requests[str(number)] = asked_request(rows, run, target, model, seed, forget)
        model = str(run.path)
    return {"requests": requests}


def _write(path: Path, rows: Sequence[Example]) -> None:
    """Write questions and answers, and nothing else, as people have them."""
    write_json_lines(path, ({"question": row.question, "answer": row.answer} for row in rows), mode=0o600)


def _reworded(row: Example) -> Example:
    """Return the row in a wording that the target was taught and no request was given."""
    return Example(row.paraphrased_question[0], row.paraphrased_answer[0])
