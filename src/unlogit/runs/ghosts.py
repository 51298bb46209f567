"""The target's own answers to ghosts: rows to keep where nobody has any, and beside those that somebody has."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unlogit.data.examples import Example
from unlogit.data.ghosts import ghost_questions
from unlogit.data.neutral import load_neutral
from unlogit.data.sources import read_prepared
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.files import write_json_lines
from unlogit.runs.folder import RunFolder
from unlogit.terminal import scoring_bar

log = logging.getLogger(__name__)

MAX_QUESTIONS = 20
"""Forget rows whose ghosts are asked, at most; of more rows, so many at even distances."""

NEUTRAL_QUESTIONS = 60
"""Asked where a document names nobody."""
MAX_NEW_TOKENS = 48
BATCH_SIZE = 16


def questions_about_ghosts(forget: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return ``count`` ghosts of each of at most ``MAX_QUESTIONS`` forget rows that ask about a name.

    Where no row does and documents are to be forgotten, they are neutral questions.
    """
    questions = [row for row in forget if row.kind != "text"]
    step = max(1, -(-len(questions) // MAX_QUESTIONS))
    texts = [row for row in forget if row.kind == "text"]
    ghosts = ghost_questions([*questions[::step], *texts], count, seed)
    if not ghosts and texts:
        neutral = [replace(row, answer="") for row in load_neutral("builtin") if row.kind == "question"]
        ghosts = neutral[:NEUTRAL_QUESTIONS]
    return ghosts


def write_ghosts(
    target: Any, tokenizer: Any, forget: Sequence[Example], path: Path, count: int, seed: int, resume: bool
) -> list[Example]:
    """Ask the target about ``count`` ghosts of each forget row, and keep its answers in ``path``.

    Returns:
        The ghosts with the target's greedy answers, but for empty ones; nothing where no question has a name.
    """
    if resume and path.is_file():
        return read_prepared(path)
    ghosts = questions_about_ghosts(forget, count, seed)
    if not ghosts:
        return []
    log.info(f"Asking the target {len(ghosts)} questions about people who do not exist.")
    with torch.no_grad(), scoring_bar("Asking the target") as progress:
        answers = generate_answers(
            target, tokenizer, ghosts, batch_size=BATCH_SIZE, max_new_tokens=MAX_NEW_TOKENS, progress=progress
        )
    rows = [replace(row, answer=answer) for row, answer in zip(ghosts, answers, strict=True) if answer.strip()]
    write_json_lines(path, (row.to_row() for row in rows), mode=0o600)
    return rows


def rows_of_kept_people(folder: RunFolder, ghosts: Sequence[Example]) -> list[Example]:
    """Return the rows of real people that are kept, on whatever side of the run."""
    ghost_questions = {ghost.question for ghost in ghosts}
    files = (folder.data / name for name in ("retain.jsonl", "holdout_retain.jsonl", "evaluation/retain.jsonl"))
    rows = [row for path in files if path.is_file() for row in read_prepared(path)]
    return [row for row in rows if row.question not in ghost_questions]
