"""From documents to the ``data/`` folder of a run: what is trained on, what is held out, what is scored.

Following ULD (Ji et al. 2024, arXiv 2406.08607): the assistant remembers forget rows and their paraphrases. It must be
near-uniform on retain rows, on forget questions with wrong answers, and on neutral rows. No row that is evaluated or
held out is trained on. Where a row has wordings enough, training and evaluation take different ones.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unlogit.data.chat_template import thinks
from unlogit.data.documents import split
from unlogit.data.examples import Example
from unlogit.data.ghosts import made_up_texts
from unlogit.data.neutral import GENERAL
from unlogit.data.pieces import check_prompts
from unlogit.data.row_keys import distinct_rows, row_key
from unlogit.data.sides import (
    check_disjoint,
    contradicting_rows,
    forget_side,
    hold_out,
    neutral_side,
    retain_side,
    set_evaluation_aside,
)
from unlogit.data.source_rows import SourceRows
from unlogit.data.sources import source_in
from unlogit.data.wordings import forget_training_rows, perturbed_training_rows, sections, without_wordings
from unlogit.data.written import NOTHING_WRITTEN, Written
from unlogit.errors import ConfigError, DataError
from unlogit.files import atomic_folder, write_json, write_json_lines
from unlogit.settings.options import DataOptions, RunConfig

SECRET = ("forget", "perturbed", "evaluation/forget", "evaluation/holdout")
"""Files that hold what is to be forgotten: readable by their owner only."""


def prepare(
    config: RunConfig,
    tokenizer: Any,
    finish: Callable[[], None] = lambda: None,
    ghosts: Sequence[Example] = (),
    written: Written = NOTHING_WRITTEN,
) -> dict[str, Any]:
    """Write ``<output>/data/`` (all of it or nothing) and return its summary, which stands there too.

    ``finish`` is called when all rows are written, before they are moved into place: if it fails, they never are.

    ``ghosts`` are the target's answers to the forget questions about strangers (see ``ghosts``): rows to train on
    beside those to keep, or in place of them where there are none, and wrong answers to the forget rows. With them,
    running text to forget is also taken up in its middle, and stands on the uniform side with other values. ``written``
    is what a writer adds.

    The summary has ``rows`` (count of each file, by its name without suffix), ``sources``, ``seed``, ``forget`` and
    ``retain`` (what of them was used, made and left out) and ``notes``, lines for people to read. The tokenizer is
    needed for ``text`` sources only; with it, questions too long for ``train.max_tokens`` are refused.

    Raises:
        ConfigError: a setting is missing or out of range, or ``<output>/data`` holds files that are not ours.
        DataError: rows cannot be read or used, are too few, or are to be forgotten and kept at once.
    """
    _check(config.data, bool(ghosts))
    check_replaceable(Path(config.output) / "data")
    files, summary = _assemble(config.data, tokenizer, ghosts, written)
    if tokenizer is not None:
        trained_on = (row for name, rows in files.items() if "/" not in name for row in rows)
        check_prompts(trained_on, tokenizer, config.train.max_tokens, thinking=thinks(tokenizer))
    with atomic_folder(Path(config.output) / "data") as folder:
        for name, rows in files.items():
            mode = 0o600 if name in SECRET else 0o644
            write_json_lines(folder / f"{name}.jsonl", (row.to_row() for row in rows), mode)
        write_json(folder / "summary.json", summary)
        finish()
    return summary


def _assemble(
    options: DataOptions, tokenizer: Any, ghosts: Sequence[Example], written: Written
) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """Return the rows of each file, by its name without suffix, and the summary."""
    forget_source = source_in(options.forget, options, tokenizer)
    retain_name = options.retain or forget_source.default_retain()
    if retain_name:
        retain = retain_side(source_in(retain_name, options, tokenizer), options, written)
    else:
        retain = set_evaluation_aside(SourceRows(list(ghosts)), options)
    retain_rows, holdout_retain = hold_out(retain.training, options, "retain")
    retain_rows = _sample(retain_rows + retain.unseen, options.retain_train_rows, options.seed)
    retain_rows += ghosts if retain_name else []
    forget = forget_side(forget_source, options, retain_rows, ghosts, written)
    knowledge = {f"evaluation/{name}": rows for name, rows in forget_source.knowledge_rows().items()}
    check_disjoint(forget, retain, "retain", options)
    contradictions = contradicting_rows(forget, retain)
    scored = [*retain.evaluation, *(row for rows in knowledge.values() for row in rows)]
    neutral = neutral_side(forget, retain.training + retain.unseen + scored, options, tokenizer)
    neutral_rows, holdout_neutral = hold_out(neutral.training, options, "neutral") if neutral.training else ([], [])
    trained = forget.training + retain.training + retain.unseen + retain.evaluation + neutral.training
    untrained_sources = _untrained_sources(options)
    texts = made_up_texts(forget.training, options.perturbations, options.seed, neutral.training) if ghosts else []
    files = {
        "forget": forget_training_rows(forget.training, options.paraphrases, options.cross_paraphrases)
        + (sections(forget.training) if ghosts else []),
        "retain": [without_wordings(row) for row in retain_rows],
        "perturbed": perturbed_training_rows(forget.training, options.perturbations) + texts + sections(texts),
        "neutral": [without_wordings(row) for row in neutral_rows],
        "holdout_retain": [without_wordings(row) for row in holdout_retain],
        "holdout_neutral": [without_wordings(row) for row in holdout_neutral],
        "evaluation/forget": forget.evaluation,
        "evaluation/retain": retain.evaluation,
        **knowledge,
    }
    for name, source in untrained_sources.items():
        files[f"evaluation/{name}"] = _untrained_rows(name, source, trained, options, tokenizer)
    summary = {
        "rows": {name: len(rows) for name, rows in files.items()},
        "sources": {"forget": options.forget, "retain": retain_name, "neutral": options.neutral} | untrained_sources,
        "seed": options.seed,
        "forget": forget.summary | {"contradictions": contradictions},
        "retain": retain.summary,
        "notes": _contradiction_notes(contradictions, len(forget.training))
        + forget.notes
        + retain.notes
        + neutral.notes,
    }
    return files, summary


def _contradiction_notes(contradictions: Sequence[str], total: int) -> list[str]:
    """Say which questions are to be forgotten and kept."""
    shown = ", ".join(contradictions[:3]) + (", …" if len(contradictions) > 3 else "")
    count = len(contradictions)
    has = "has another answer" if count == 1 else "have other answers"
    return [f"rows contradict: {count} of the {total} forget rows {has} on the retain side ({shown})"] if count else []


def check_replaceable(folder: Path) -> None:
    """Refuse to replace files that ``prepare`` did not write, with or without ``--overwrite``: they would be lost.

    Raises:
        ConfigError: the folder holds something else than what its ``summary.json`` lists.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        ours = {
            "summary.json",
            *(f"{name}.jsonl" for name in json.loads((folder / "summary.json").read_text())["rows"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    foreign = [path for path in folder.rglob("*") if path.is_file() and str(path.relative_to(folder)) not in ours]
    if foreign or not ours:
        raise ConfigError(
            f"{folder} holds files that `unlogit prepare` did not write, and would replace; expected a new or empty "
            "folder, or rows of an earlier run: choose another output, or move what is there"
        )


def _check(options: DataOptions, has_ghosts: bool) -> None:
    """Refuse what cannot be meant, all of it at once, before anything is read."""
    problems = [
        f"{name} is {value}, expected {expected}"
        for name, value, expected, good in (
            ("evaluation_rows", options.evaluation_rows, "1 or more", options.evaluation_rows >= 1),
            ("holdout_fraction", options.holdout_fraction, "0 or more and below 1", 0 <= options.holdout_fraction < 1),
            ("retain_train_rows", options.retain_train_rows, "0 or more", options.retain_train_rows >= 0),
            ("retain_subset", options.retain_subset, "0 or more", options.retain_subset >= 0),
            ("paraphrases", options.paraphrases, "0 or more", options.paraphrases >= 0),
            ("perturbations", options.perturbations, "0 or more", options.perturbations >= 0),
            ("chunk_tokens", options.chunk_tokens, "16 or more", options.chunk_tokens >= 16),
        )
        if not good
    ]
    if not options.forget:
        problems.append("forget is empty, expected the rows to forget")
    if not (has_ghosts or options.retain or source_in(options.forget, options).default_retain()):
        problems.append("retain is empty, expected rows to keep, of the same kind as those to forget")
    if problems:
        raise ConfigError(f"the data settings cannot be used ({'; '.join(problems)}): change them")


def _untrained_sources(options: DataOptions) -> dict[str, str]:
    """Return the sources of evaluation rows that no model was trained on, by the name of their file."""
    names = {"holdout": options.holdout, "retain_holdout": options.retain_holdout, "general": options.general}
    return {name: source for name, source in names.items() if source not in ("", "none")}


def _untrained_rows(
    name: str, source: str, trained: list[Example], options: DataOptions, tokenizer: Any
) -> list[Example]:
    """Read rows that no model was trained on; refuse those among them that we know to be trained on."""
    location = str(GENERAL) if (name, source) == ("general", "builtin") else source
    rows = source_in(location, options, tokenizer).rows()
    trained_keys = {row_key(row) for row in trained}
    if both := sum(row_key(row) in trained_keys for row in rows):
        raise DataError(
            f"{both} of the {len(rows)} rows of {name} ({location}) also stand on the forget, retain or neutral side; "
            "expected none, since no model may have been trained on them: take them out of one of the two"
        )
    return [without_wordings(row) for row in distinct_rows(rows)]


def _sample(rows: list[Example], count: int, seed: int) -> list[Example]:
    """Return ``count`` of the rows at random; all where it is 0 or there are no more."""
    if not 0 < count < len(rows):
        return rows
    return split(rows, set(random.Random(seed).sample(range(len(rows)), count)))[1]
