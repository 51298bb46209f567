"""A next request asks about the rows of the earlier ones, where their runs still are."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from unlogit.data.examples import Example
from unlogit.evaluate.leaks import KeptAnswers
from unlogit.report.forget_page import forget_page
from unlogit.runs.earlier_rows import EarlierLeaks, EarlierRequest, ask_again, earlier_requests, told_again_problems
from unlogit.runs.folder import RunFolder
from unlogit.runs.outcome import Outcome

ANN = Example("Where does Ann live?", "Ann lives at 20 Abbey Close.")
BO = Example("Where does Bo live?", "Bo lives at 7 Mill Lane.")


def write_model(folder: Path, names: Sequence[str]) -> None:
    """Config and assistants of these requests, each assistant with its request's name in it."""
    branches = []
    for i, name in enumerate(names):
        (folder / f"assistant-{i}").mkdir(parents=True)
        (folder / f"assistant-{i}" / "assistant.safetensors").write_text(name)
        branches.append({"folder": f"assistant-{i}", "weight": 1.0, "request": name})
    (folder / "config.json").write_text(json.dumps({"branches": branches}))


def write_run(folder: Path, before: Path | None, row: Example) -> RunFolder:
    """A run whose request has its folder's name, added to the run ``before``."""
    names = [path.name for path in (folder.parent / "a", folder.parent / "b") if path.exists()]
    write_model(folder / "unlearned", [*names, folder.name])
    (folder / "data" / "evaluation").mkdir(parents=True)
    (folder / "data" / "evaluation" / "forget.jsonl").write_text(json.dumps(row.to_row()) + "\n")
    target = before / "unlearned" if before == folder.parent / "a" else before  # both ways of naming it
    (folder / "request.json").write_text(json.dumps({"target": str(target or "model")}))
    if before:
        shutil.copytree(before / "unlearned", folder / "earlier")
    return RunFolder(folder)


@pytest.fixture
def third(tmp_path: Path) -> RunFolder:
    write_run(tmp_path / "a", None, ANN)
    write_run(tmp_path / "b", tmp_path / "a", BO)
    return write_run(tmp_path / "c", tmp_path / "b", Example("Who is Cy?", "A baker."))


def rows_at_hand(run: RunFolder) -> dict[str, Any]:
    return {request.name: request.rows for request in earlier_requests(run)}


def test_rows_are_read_where_they_are(third: RunFolder) -> None:
    """Run before run; those of a deleted one are not at hand, and so are those of one before it."""
    assert rows_at_hand(third) == {"a": (ANN,), "b": (BO,)}
    assert rows_at_hand(RunFolder(third.path.parent / "a")) == {}
    shutil.rmtree(third.path.parent / "a")
    assert rows_at_hand(third) == {"a": None, "b": (BO,)}
    shutil.rmtree(third.path.parent / "b" / "data")
    assert rows_at_hand(third) == {"a": None, "b": None}


def test_rows_of_a_run_that_was_made_anew_are_others(third: RunFolder) -> None:
    (third.path.parent / "a" / "unlearned" / "assistant-0" / "assistant.safetensors").write_text("another")
    assert rows_at_hand(third) == {"a": None, "b": (BO,)}


def test_a_run_that_names_itself_is_read_once(third: RunFolder) -> None:
    (third.path.parent / "b" / "request.json").write_text(json.dumps({"target": str(third.path)}))
    assert rows_at_hand(third) == {"a": None, "b": (BO,)}


def test_what_is_told_again() -> None:
    """A row counts that was told no longer, and is told now; one that was told all the time does not."""
    cy = Example("Where does Cy live?", "Cy lives at 3 Low Street.")
    answers = {"before": {ANN: "No.", BO: BO.answer, cy: "No."}, "after": {ANN: ANN.answer, BO: BO.answer, cy: "No."}}
    before, after = (lambda rows, name=name: [answers[name][row] for row in rows] for name in answers)
    requests = [EarlierRequest("a", (ANN, BO, cy)), EarlierRequest("b", None)]
    asked = ask_again(requests, before, after, [])
    assert asked == [EarlierLeaks("a", 3, (1,)), EarlierLeaks("b", None)]
    (problem,) = told_again_problems(Path("runs/c"), asked)
    assert problem.startswith(
        "1 of 3 rows of the earlier request a are told again (rows 1). Give that one more strength"
    )
    assert "unlogit combine runs/c --strength a=1.2" in problem
    thinking = ask_again(requests[:1], lambda rows: ["No."] * len(rows), before, [before, after])
    assert thinking == [EarlierLeaks("a", 3, (1,))]  # the first only thought of it now


def test_the_page_says_what_came_of_it() -> None:
    kept = KeptAnswers(4, 4, 4, 4)
    combination = {"alpha": 1.1, "rule": "centred", "filter_rate": 0.001}
    training = {"steps": 10, "seconds": 1.0, "ceiling": None}
    asked = [EarlierLeaks("a", 6), EarlierLeaks("b", 6, (2, 5)), EarlierLeaks("c", None)]
    outcome = Outcome(Path("runs/d"), [], kept, False, kept, combination, training, None, [], earlier=asked)
    text = " ".join(forget_page(outcome).split())
    assert "Earlier requests: of 6 rows of a, none told again; of 6 rows of b, 2 told again; the rows of c are" in text
    assert outcome.loses
    assert not Outcome(Path("d"), [], kept, False, kept, combination, training, None, [], earlier=asked[::2]).loses
