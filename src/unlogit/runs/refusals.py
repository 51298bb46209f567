"""The refusals of a run: what its forget questions are answered with, and whether nothing else is."""

from collections.abc import Callable, Sequence
from pathlib import Path

from unlogit.data.examples import Example
from unlogit.data.refusal_rows import is_refusal, refusal_rows
from unlogit.data.refusals import load_refusals
from unlogit.data.sources import read_prepared
from unlogit.evaluate.leaks import KeptAnswers
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import DataOptions, RunConfig
from unlogit.training.recipe import recipes_of

LEAST_REFUSED = 0.5
"""Forget questions that are refused, at least."""
MOST_REFUSED = 0.05
"""Other answers that are refused in place of the target's, at most; one always may be."""


def teaches_refusals(config: RunConfig) -> bool:
    """Whether the questions to forget are to be answered with refusals."""
    return any("refusal" in side.pools for recipe in recipes_of(config.train.objective) for side in recipe.sides)


def refusals_of(folder: RunFolder, options: DataOptions, forget: Sequence[Example]) -> list[Example]:
    """Return each question to forget once, with its refusal, see ``refusal_rows``.

    Raises:
        DataError: no row asks anything, or the refusals cannot be read.
    """
    ghosts = read_prepared(folder.ghosts) if folder.ghosts.is_file() else []
    return refusal_rows(forget, ghosts, load_refusals(options.refusals, options.tofu_folder))


def refusal_test(folder: RunFolder, config: RunConfig) -> Callable[[str], bool]:
    """Return what tells whether an answer is a refusal; where a run teaches none, nothing is."""
    if not teaches_refusals(config):
        return lambda answer: False
    rows = refusals_of(folder, config.data, read_prepared(folder.data / "forget.jsonl"))
    refusals = sorted({row.answer for row in rows})
    return lambda answer: is_refusal(answer, refusals)


def refusal_problems(
    run: Path, refused: int | None, rows: int, retained: KeptAnswers, general: KeptAnswers
) -> list[str]:
    """Return what of a run's refusals did not come as it should, each with what to do."""
    if refused is None:
        return []
    problems = []
    if refused < LEAST_REFUSED * rows:
        problems.append(
            f"only {refused} of {rows} questions to forget are refused. Give other wordings of the questions "
            "(paraphrased_question), or a higher --combination.alpha, and run it again with --overwrite"
        )
    for name, answers in (("other", retained), ("general", general)):
        if answers.refused > max(1, MOST_REFUSED * answers.rows):
            problems.append(
                f"{answers.refused} of {answers.rows} {name} questions are refused, too. Give rows to keep (--retain) "
                f"and run it again with --overwrite, or lower the strength (unlogit combine {run} --alpha 0.5) and "
                "check again with --resume"
            )
    return problems
