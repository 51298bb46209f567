"""General questions that stay right, by hand."""

import pytest

from unlogit.compare.gather import _figures
from unlogit.compare.results import figures_of
from unlogit.evaluate.metrics.knowledge_retention import knowledge_retention, right_answers
from unlogit.evaluate.results import MetricResult, Results, SplitResult
from unlogit.report.run_table import general_right, run_table
from unlogit.runs.results import RunResults
from unlogit.terminal import console


def results(*, first: int = 1, **recalls: dict[str, float]) -> Results:
    """Recalls by split and row; a row that was not answered stands before the others, or after them at ``first`` 0."""
    splits = {}
    for name, values in recalls.items():
        metric = MetricResult("rouge_l_recall", 0.0, tuple(values.values()), len(values), "higher", "")
        metric = MetricResult(**{**vars(metric), "row_indices": tuple(range(first, len(values) + first))})
        rows = ("not answered", *values) if first else (*values, "not answered")
        splits[name] = SplitResult(name, {"rouge_l_recall": metric}, rows)
    return Results("m", splits)


TARGET = results(
    world_facts={"paris": 1.0, "rome": 0.5, "oslo": 0.4}, real_authors={"paris": 0.9, "verne": 1.0}, retain={"x": 1.0}
)


def test_what_the_target_knows_stays_right() -> None:
    """It has four right, one of them of a question that stands in both splits; two stay, and a new one is no gain."""
    other = results(
        first=0,
        world_facts={"paris": 0.0, "rome": 1.0, "oslo": 1.0},
        real_authors={"paris": 0.5, "verne": 0.49},
        retain={},
    )
    assert len(right_answers(TARGET)) == 4
    assert knowledge_retention(other, TARGET) == {"general_right": 4, "general_kept": 2}
    assert knowledge_retention(TARGET, TARGET) == {"general_right": 4, "general_kept": 4}


def test_they_are_among_the_figures_of_a_row() -> None:
    assert _figures(TARGET, {"target": TARGET}) == figures_of(TARGET) | {"general_right": 4, "general_kept": 4}


def test_only_questions_that_both_answered_count() -> None:
    other = results(world_facts={"rome": 1.0, "oslo": 1.0, "bern": 1.0})
    assert knowledge_retention(other, TARGET) == {"general_right": 1, "general_kept": 1}
    assert knowledge_retention(results(retain={"x": 1.0}), TARGET) == {}


def test_they_are_in_the_table_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Of those that the target answers right; without the target, of all; the table still has 80 columns."""
    other = results(world_facts={"paris": 0.0, "rome": 1.0, "oslo": 1.0}, real_authors={"paris": 0.5, "verne": 0.49})
    run = RunResults({"target": TARGET, "unlearned": other})
    assert general_right(run) == {"target": "4/4", "unlearned": "2/4"}
    assert general_right(RunResults({"unlearned": other})) == {"unlearned": "3/5"}
    assert general_right(RunResults({"target": results(retain={"x": 1.0})})) == {}
    console().print(run_table(run), width=80)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("unlearned ") and line.rstrip().endswith("2/4") for line in lines)
    assert "general" in lines[0]
    assert max(map(len, lines)) <= 80
