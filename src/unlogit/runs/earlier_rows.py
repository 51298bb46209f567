"""The next request must not bring an earlier one back: its check asks about the rows of the earlier requests, too.

Their rows are read where they are, in the folder of the run that forgot them, and from there in the folder of the run
before it. They are not copied: whoever deletes a run deletes its rows.
"""

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlogit.data.content_words import common_words
from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.errors import ConfigError
from unlogit.evaluate.leaks import Ask, Guessable, find_leaks
from unlogit.evaluate.results import read_json
from unlogit.model.loading import UNLEARNED
from unlogit.model.requests import DEFAULTS
from unlogit.runs.combine import own_request
from unlogit.runs.folder import RunFolder
from unlogit.runs.ghosts import rows_of_kept_people
from unlogit.runs.plan import PLANNED_COMMON_FRACTION


@dataclass(frozen=True)
class EarlierRequest:
    """A request that a model had forgotten before it was to forget more."""

    name: str
    rows: tuple[Example, ...] | None
    """Its questions; None where they are not at hand."""
    ghosts: tuple[Example, ...] = ()
    kept_people: tuple[Example, ...] = ()
    """Rows about people who were kept."""
    common: frozenset[str] = frozenset()


@dataclass(frozen=True)
class EarlierLeaks:
    """What of an earlier request is told again."""

    name: str
    rows: int | None
    """How many were asked about; None where they are not at hand."""
    told_again: tuple[int, ...] = ()
    """Numbers, from 1 on, of those that the model told no longer, and tells now."""


def earlier_requests(folder: RunFolder) -> list[EarlierRequest]:
    """Return the requests in the unlearned model that a run's own is added to, in their order."""
    names = dict.fromkeys(branch["request"] for branch in _branches(folder.earlier))
    at_hand: dict[str, EarlierRequest] = {}
    run, seen = _run_before(folder), {folder.path.resolve()}
    while run and run.path.resolve() not in seen:
        seen.add(run.path.resolve())
        request = _request_of(run)
        if request and _same_assistants(run.unlearned, folder.earlier, request.name):
            at_hand[request.name] = request
        run = _run_before(run)
    return [at_hand.get(name, EarlierRequest(name, None)) for name in names]


def rows_of(requests: Sequence[EarlierRequest]) -> list[Example]:
    """Return the rows of all requests whose rows are at hand."""
    return [row for request in requests for row in request.rows or ()]


def ask_again(
    requests: Sequence[EarlierRequest], before: Ask, unlearned: Ask, thinking: Sequence[Ask]
) -> list[EarlierLeaks]:
    """Ask the model ``before`` this request and the ``unlearned`` one about earlier requests; see ``find_leaks``."""
    answers = []
    for request in requests:
        if request.rows is None:
            answers.append(EarlierLeaks(request.name, None))
            continue
        guessable = Guessable(request.ghosts, kept_people=request.kept_people)
        leaks = find_leaks(request.rows, before, unlearned, unlearned, 0, guessable, request.common, thinking)
        numbers = [i for i, leak in enumerate(leaks, start=1) if leak.unlearned_tells and not leak.target_tells]
        answers.append(EarlierLeaks(request.name, len(leaks), tuple(numbers)))
    return answers


def told_again_problems(run: Path, answers: Sequence[EarlierLeaks]) -> list[str]:
    """Return why a request does not pass that brings earlier ones back, with what to do."""
    return [
        f"{len(leaks.told_again)} of {leaks.rows} rows of the earlier request {leaks.name} are told again (rows "
        f"{', '.join(map(str, leaks.told_again))}). Give that one more strength (unlogit combine {run} --strength "
        f"{leaks.name}=1.2) and check again with --resume"
        for leaks in answers
        if leaks.told_again
    ]


def _branches(model: Path) -> list[dict[str, Any]]:
    """Return the branches of an unlearned model; none where there is no such model."""
    path = model / "config.json"
    return [DEFAULTS | branch for branch in read_json(path).get("branches", [])] if path.is_file() else []


def _run_before(run: RunFolder) -> RunFolder | None:
    """Return the run whose model another run's request was added to; None where it is not there."""
    if not (run.request.is_file() and _branches(run.earlier)):
        return None
    model = Path(read_json(run.request)["target"]).expanduser()
    earlier_run = RunFolder(model.parent if model.name == UNLEARNED else model)
    return earlier_run if earlier_run.combined else None


def _request_of(run: RunFolder) -> EarlierRequest | None:
    """Return the request of a run with its rows; None where it has none, or its request was taken away."""
    path = run.data / "evaluation" / "forget.jsonl"
    try:
        name = own_request(run)
    except ConfigError:
        return None
    if not path.is_file():
        return None
    rows = tuple(row for row in read_prepared(path) if row.kind != "text")
    ghosts = tuple(read_prepared(run.ghosts)) if run.ghosts.is_file() else ()
    retain = run.data / "retain.jsonl"
    common = common_words(read_prepared(retain), PLANNED_COMMON_FRACTION) if retain.is_file() else frozenset[str]()
    return EarlierRequest(name, rows, ghosts, tuple(rows_of_kept_people(run, ghosts)), common)


def _same_assistants(model: Path, other: Path, request: str) -> bool:
    """Whether two unlearned models have the same assistants of a request: a run may have been made anew since."""
    folders = [
        [folder / branch["folder"] for branch in _branches(folder) if branch["request"] == request]
        for folder in (model, other)
    ]
    return len(folders[0]) == len(folders[1]) > 0 and all(
        filecmp.cmp(first / "assistant.safetensors", second / "assistant.safetensors", shallow=False)
        for first, second in zip(*folders, strict=True)
    )
