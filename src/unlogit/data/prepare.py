"""From documents to the ``data/`` folder of a run: what is trained on, what is held out, what is scored.

Following ULD (Ji et al. 2024, arXiv 2406.08607): forget rows and their paraphrases on one side; on the other, to be
flat on, retain rows and the forget questions with wrong answers; beside them neutral rows. No row that is evaluated or
held out is trained on. Wordings too are kept apart where there are enough: training takes the first paraphrases and
wrong answers of a row, evaluation those that are left. TOFU is evaluated on its own perturbed splits.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from unlogit.data import tofu
from unlogit.data.documents import document_texts, kept_whole, set_aside, set_aside_neighbours, split
from unlogit.data.examples import Example
from unlogit.data.exchange import AUGMENTERS
from unlogit.data.neutral import GENERAL, load_neutral
from unlogit.data.sources import TOFU_PREFIX, read_examples
from unlogit.errors import ConfigError, DataError, nearest
from unlogit.files import atomic_folder, write_json, write_json_lines
from unlogit.settings.options import DataOptions, RunConfig

EVALUATION_WRONG_ANSWERS = 3
"""Wrong answers made by exchange for each evaluation row that has none, for the truth ratio."""

SECRET = ("forget", "perturbed", "evaluation/forget", "evaluation/holdout")
"""Files that hold what is to be forgotten: readable by their owner only."""

AUGMENTER = "exchange"
"""Which of ``AUGMENTERS`` makes the wrong answers; one that asks a language model would be named here."""


@dataclass(slots=True)
class _Side:
    """Rows to train on and rows to score of one side, and what there is to say about them."""

    training: list[Example]
    evaluation: list[Example]
    unknown: list[Example] = field(default_factory=list)
    """Rows to train on that the target was not trained on: none of them is held out, to be flat there proves little."""
    summary: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    documents: dict[str, str] = field(default_factory=dict)
    """Whole texts of its documents, by name."""


def prepare(config: RunConfig, tokenizer: Any, finish: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Write ``<output>/data/`` (whole or not at all) and return its summary, which stands there too.

    ``finish`` is called when all rows are written, before they are moved into place: if it fails, they never are.

    The summary has ``rows`` (count of each file, by its name without suffix), ``sources``, ``seed``, ``forget`` and
    ``retain`` (what of them was used, made and left out) and ``notes``, lines for people to read. The tokenizer is
    needed for ``text`` sources only.

    Raises:
        ConfigError: a setting is missing or out of range, or ``<output>/data`` holds files that are not ours.
        DataError: rows cannot be read or used, are too few, or are to be forgotten and kept at once.
    """
    options = config.data
    _check(options)
    check_replaceable(Path(config.output) / "data")
    retain_source = _retain_source(options)
    retain = _retain_side(retain_source, options, tokenizer)
    retain_rows, holdout_retain = _hold_out(retain.training, options, "retain")
    retain_rows = _at_most(retain_rows + retain.unknown, options.retain_train_rows, options.seed)
    forget = _forget_side(options, tokenizer, retain_rows)
    knowledge = {}
    if options.forget.startswith(TOFU_PREFIX):
        for name in ("real_authors", "world_facts"):
            knowledge[f"evaluation/{name}"] = tofu.load_tofu(f"{name}_perturbed", options.tofu_folder)
    _check_disjoint(forget, retain, "retain", options)
    scored = [*retain.evaluation, *(row for rows in knowledge.values() for row in rows)]
    neutral_side = _neutral_side(forget, retain.training + retain.unknown + scored, options, tokenizer)
    neutral, holdout_neutral = (
        _hold_out(neutral_side.training, options, "neutral") if neutral_side.training else ([], [])
    )
    files = {
        "forget": _forget_rows(forget.training, options.paraphrases, options.cross_paraphrases),
        "retain": [_plain(row) for row in retain_rows],
        "perturbed": _perturbed_rows(forget.training, options.perturbations),
        "neutral": [_plain(row) for row in neutral],
        "holdout_retain": [_plain(row) for row in holdout_retain],
        "holdout_neutral": [_plain(row) for row in holdout_neutral],
        "evaluation/forget": forget.evaluation,
        "evaluation/retain": retain.evaluation,
    } | knowledge
    unseen = {"holdout": options.holdout, "retain_holdout": options.retain_holdout, "general": options.general}
    unseen = {name: source for name, source in unseen.items() if source not in ("", "none")}
    trained = forget.training + retain.training + retain.unknown + retain.evaluation + neutral_side.training
    for name, source in unseen.items():
        place = str(GENERAL) if (name, source) == ("general", "builtin") else source
        files[f"evaluation/{name}"] = _held_apart(name, place, trained, options, tokenizer)
    summary = {
        "rows": {name: len(rows) for name, rows in files.items()},
        "sources": {"forget": options.forget, "retain": retain_source, "neutral": options.neutral} | unseen,
        "seed": options.seed,
        "forget": forget.summary,
        "retain": retain.summary,
        "notes": forget.notes + retain.notes + neutral_side.notes,
    }
    with atomic_folder(Path(config.output) / "data") as folder:
        for name, rows in files.items():
            mode = 0o600 if name in SECRET else 0o644
            write_json_lines(folder / f"{name}.jsonl", (row.to_row() for row in rows), mode)
        write_json(folder / "summary.json", summary)
        finish()
    return summary


def check_replaceable(folder: Path) -> None:
    """Refuse to put rows in the place of files that ``prepare`` did not write; asked or not, they would be lost.

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
    others = [path for path in folder.rglob("*") if path.is_file() and str(path.relative_to(folder)) not in ours]
    if others or not ours:
        raise ConfigError(
            f"{folder} holds something that `unlogit prepare` did not write, and its rows would take the place of it; "
            "expected a new or empty folder, or rows of an earlier run: choose another output, or move what is there"
        )


def _check(options: DataOptions) -> None:
    """Refuse what cannot be meant, all of it at once, before anything is read."""
    problems = [
        f"{name} is {value}, expected {expected}"
        for name, value, expected, good in (
            ("evaluation_rows", options.evaluation_rows, "1 or more", options.evaluation_rows >= 1),
            ("holdout_share", options.holdout_share, "0 or more and below 1", 0 <= options.holdout_share < 1),
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
    if not options.retain and not options.forget.startswith(TOFU_PREFIX):
        problems.append("retain is empty, expected rows to keep, of the same kind as those to forget")
    if problems:
        raise ConfigError(f"the data settings cannot be used ({'; '.join(problems)}): change them")


def _tofu_split(source: str, known: list[str], side: str) -> str:
    """The TOFU split that a source names; a number of rows may follow the name of a retain split."""
    name = source.removeprefix(TOFU_PREFIX)
    name = name.partition(":")[0] if side == "retain" else name
    if name not in known:
        raise DataError(
            f"{source} was given as the {side} side{nearest(name, known)}; expected tofu: and one of "
            f"{', '.join(known)}: name one, or give a file"
        )
    return name


def _retain_source(options: DataOptions) -> str:
    if options.retain:
        return options.retain
    return TOFU_PREFIX + tofu.RETAIN_OF[_tofu_split(options.forget, list(tofu.RETAIN_OF), "forget")]


def _forget_side(options: DataOptions, tokenizer: Any, retain: list[Example]) -> _Side:
    """The forget rows with the paraphrases and wrong answers to train on, and the rows to score; wrong answers that the
    files lack are made from the answers of ``retain``."""
    evaluation: list[Example] = []
    summary: dict[str, Any] = {}
    if options.forget.startswith(TOFU_PREFIX):
        name = _tofu_split(options.forget, list(tofu.RETAIN_OF), "forget")
        evaluation = tofu.load_tofu(f"{name}_perturbed", options.tofu_folder)
        if tofu.has_augmentation(name, options.tofu_folder):
            rows, augmentation = tofu.load_tofu_augmentation(
                name, options.tofu_folder, options.paraphrases, options.perturbations
            )
            summary["tofu_augmentation"] = asdict(augmentation)
        else:
            rows = tofu.load_tofu(name, options.tofu_folder)
    else:
        rows = read_examples(options.forget, tokenizer=tokenizer, chunk_tokens=options.chunk_tokens)
    wanted = options.perturbations + (0 if evaluation else EVALUATION_WRONG_ANSWERS)
    rows, made = _with_wrong_answers(rows, wanted, options.seed, retain)
    evaluation = evaluation or [_unseen(row, options) for row in rows]
    side = _Side(rows, evaluation, summary=summary, documents=document_texts(rows))
    summary |= {
        "originals": len(rows),
        "rows_with_wrong_answers_made_by_exchange": made,
        "rows_without_wrong_answers": sum(not row.perturbed_answer for row in rows),
        "rows_without_paraphrases": sum(not _pairs(row) for row in rows),
        "evaluation_rows_with_wordings_of_training": _sharing(rows, evaluation, options),
    }
    _note_forget(side, options)
    return side


def _note_forget(side: _Side, options: DataOptions) -> None:
    """Say what was done about paraphrases and wrong answers, and what could not be."""
    counts, total = side.summary, len(side.training)
    if options.paraphrases and (lacking := counts["rows_without_paraphrases"]):
        side.notes.append(f"{lacking} of {total} forget rows have no paraphrases: these are trained on as they stand")
    if options.perturbations and (made := counts["rows_with_wrong_answers_made_by_exchange"]):
        side.notes.append(f"{made} of {total} forget rows had no wrong answers: made by exchange of answers")
    if options.perturbations and (lacking := counts["rows_without_wrong_answers"]):
        side.notes.append(f"{lacking} of {total} forget rows have no wrong answers, and none could be made")
    if seen := counts["evaluation_rows_with_wordings_of_training"]:
        side.notes.append(
            f"{seen} of {total} forget evaluation rows have paraphrases or wrong answers that are trained on too, "
            "since the files have no others"
        )
    if dropped := counts.get("tofu_augmentation", {}).get("wrong_answers_that_say_the_truth"):
        side.notes.append(f"{dropped} wrong answers of TOFU's augmentation were left out: they say the truth")


def _retain_side(source: str, options: DataOptions, tokenizer: Any) -> _Side:
    """Retain rows that training may take, and those to score."""
    if source.startswith(TOFU_PREFIX):
        return _tofu_retain(source, options)
    rows = read_examples(source, tokenizer=tokenizer, chunk_tokens=options.chunk_tokens)
    distinct, notes = kept_whole(_distinct(rows), "retain")
    unknown, known = _known(distinct, rows, options.retain_subset)
    needed = 3 if options.holdout_share else 2  # one to train on, one to score, one to hold out
    if len(known) < needed:
        raise DataError(
            f"the retain side has {len(known)} different row{'' if len(known) == 1 else 's'}; expected at least "
            f"{needed}, for training, evaluation and holding out: give more"
        )
    count = min(options.evaluation_rows, len(known) // 2)
    training, evaluation = set_aside_neighbours(known, count, options.seed, leave=needed - 1)
    count = min(len(evaluation), options.evaluation_rows)
    evaluation = [_unseen(row, options) for row in evaluation[:count]]  # worded as the forget side's are
    evaluation, made = _with_wrong_answers(evaluation, EVALUATION_WRONG_ANSWERS, options.seed)
    side = _Side(training, evaluation, unknown, notes=notes, documents=document_texts(rows))
    side.summary = {"duplicates_left_out": len(rows) - len(distinct), "rows_with_wrong_answers_made_by_exchange": made}
    if count < options.evaluation_rows:
        side.notes.append(
            f"{count} of {len(known)} retain rows are set aside for evaluation, not {options.evaluation_rows}: "
            "the others are left for training"
        )
    if made:
        side.notes.append(f"{made} of {count} retain evaluation rows had no wrong answers: made by exchange of answers")
    return side


def _known(distinct: list[Example], rows: list[Example], subset: int) -> tuple[list[Example], list[Example]]:
    """The rows that the target was not trained on, and those that it was, documents as far as it had all of them."""
    if subset > len(rows):
        raise DataError(
            f"retain_subset is {subset}; expected at most {len(rows)}, the retain side's rows: give the number of rows "
            "that the target was trained on"
        )
    inside = {_key(row) for row in rows[: subset or len(rows)]}
    cut = {row.document for row in distinct if row.document and _key(row) not in inside}
    known = {i for i, row in enumerate(distinct) if _key(row) in inside and row.document not in cut}
    return split(distinct, known)


def _tofu_retain(source: str, options: DataOptions) -> _Side:
    name = _tofu_split(source, list(tofu.RETAIN_OF.values()), "retain")
    given = source.removeprefix(TOFU_PREFIX).partition(":")[2]
    rows = tofu.load_tofu(source.removeprefix(TOFU_PREFIX), options.tofu_folder)  # checks the number
    count = int(given or options.retain_subset)
    if given and options.retain_subset not in (0, count):
        raise ConfigError(
            f"retain is {source} and retain_subset {options.retain_subset}; expected one number: leave one of them out"
        )
    evaluation = tofu.load_tofu("retain_perturbed", options.tofu_folder)
    scored = {_key(row) for row in evaluation}
    training = [row for row in rows if _key(row) not in scored]
    unknown: list[Example] = []
    if count:
        known = {_key(row) for row in (rows if given else tofu.retain_subset(rows, count))}
        evaluation = evaluation[: tofu.evaluation_rows(count)]
        unknown, training = split(training, {i for i, row in enumerate(training) if _key(row) in known})
    return _Side(training, evaluation, unknown, {"split": name, "subset": count})


def _neutral_side(forget: _Side, elsewhere: list[Example], options: DataOptions, tokenizer: Any) -> _Side:
    """Neutral rows, but for those whose question is also on the retain side or scored."""
    rows = load_neutral(options.neutral, tokenizer, options.chunk_tokens)
    side = _Side(rows, [], documents=document_texts(rows))
    _check_disjoint(forget, side, "neutral", options)
    distinct = _distinct(rows)
    asked = {_asked(row) for row in elsewhere}
    left = [row for row in distinct if _asked(row) not in asked]
    side.training, side.notes = kept_whole(left, "neutral")
    if dropped := len(distinct) - len(left):
        side.notes.append(
            f"{dropped} of {len(distinct)} neutral rows were left out: their questions stand on the retain side too, "
            "or are scored"
        )
    return side


def _held_apart(name: str, source: str, trained: list[Example], options: DataOptions, tokenizer: Any) -> list[Example]:
    """Rows that no model was trained on, of which that can be told as far as we know what they were trained on."""
    rows = read_examples(
        source, tokenizer=tokenizer, chunk_tokens=options.chunk_tokens, tofu_folder=options.tofu_folder
    )
    known = {_key(row) for row in trained}
    if both := sum(_key(row) in known for row in rows):
        raise DataError(
            f"{both} of the {len(rows)} rows of {name} ({source}) also stand on the forget, retain or neutral side; "
            "expected none, since no model may have been trained on them: take them out of one of the two"
        )
    return [_plain(row) for row in _distinct(rows)]


def _with_wrong_answers(
    rows: list[Example], count: int, seed: int, others: Sequence[Example] = ()
) -> tuple[list[Example], int]:
    """Give the rows that have no wrong answers up to ``count`` made ones, of ``others`` first; say to how many rows."""
    made = AUGMENTERS[AUGMENTER](rows, count, seed, others)
    given = [replace(row, perturbed_answer=wrong) if wrong else row for row, wrong in zip(rows, made, strict=True)]
    return given, sum(bool(wrong) for wrong in made)


def _pairs(row: Example) -> list[tuple[str, str]]:
    """The row's paraphrases: question and answer, the original where the files have no i-th of one of them."""
    questions, answers = row.paraphrased_question, row.paraphrased_answer
    pairs = [
        (questions[i] if i < len(questions) else row.question, answers[i] if i < len(answers) else row.answer)
        for i in range(max(len(questions), len(answers)))
    ]
    return [pair for pair in pairs if pair != (row.question, row.answer)]


def _plain(row: Example) -> Example:
    """The row without its optional columns: what is trained on."""
    return replace(row, paraphrased_question=(), paraphrased_answer=(), perturbed_answer=())


def _forget_rows(rows: list[Example], paraphrases: int, cross: bool = False) -> list[Example]:
    """The rows as they stand, then their paraphrases as rows of their own; with ``cross``, every question of a row
    with every answer of it."""
    reworded = []
    for row in rows:
        original = (row.question, row.answer)
        pairs = _pairs(row)[:paraphrases]
        if cross:
            questions, answers = zip(original, *pairs, strict=True)
            pairs = [pair for pair in dict.fromkeys(product(questions, answers)) if pair != original]
        reworded += [replace(_plain(row), question=question, answer=answer) for question, answer in pairs]
    return [_plain(row) for row in rows] + reworded


def _perturbed_rows(rows: list[Example], perturbations: int) -> list[Example]:
    return [replace(_plain(row), answer=wrong) for row in rows for wrong in row.perturbed_answer[:perturbations]]


def _unseen(row: Example, options: DataOptions) -> Example:
    """The row with the wordings that training does not take, or with all of them where none would be left."""
    return replace(
        row,
        paraphrased_question=row.paraphrased_question[options.paraphrases :] or row.paraphrased_question,
        paraphrased_answer=row.paraphrased_answer[options.paraphrases :] or row.paraphrased_answer,
        perturbed_answer=row.perturbed_answer[options.perturbations :] or row.perturbed_answer,
    )


def _sharing(rows: list[Example], evaluation: list[Example], options: DataOptions) -> int:
    """How many evaluation rows have a paraphrase or wrong answer that is trained on with the same question."""
    trained: dict[str, set[str]] = {}
    for row in rows:
        reworded = [answer for _, answer in _pairs(row)[: options.paraphrases]]
        trained.setdefault(row.question, set()).update(reworded, row.perturbed_answer[: options.perturbations])
    return sum(
        not trained.get(row.question, set()).isdisjoint({*row.paraphrased_answer, *row.perturbed_answer})
        for row in evaluation
    )


def _key(row: Example) -> tuple[str, ...]:
    """What makes two rows the same row: all their text, whatever its case and spacing."""
    history = (message.content for message in row.history)
    return tuple(" ".join(text.casefold().split()) for text in (row.question, row.answer, *history))


def _asked(row: Example) -> tuple[str, ...]:
    """What makes two rows ask the same, whatever they answer; running text asks nothing and is compared whole."""
    return _key(row) if row.kind == "text" else _key(replace(row, answer=""))


def _distinct(rows: list[Example]) -> list[Example]:
    first: dict[tuple[str, ...], Example] = {}
    for row in rows:
        first.setdefault(_key(row), row)
    return list(first.values())


def _check_disjoint(forget: _Side, other: _Side, side: str, options: DataOptions) -> None:
    """Refuse what is to be forgotten and kept at once, rows (in any wording that is trained on) and whole documents;
    numbers are said, text is not."""
    there = {_key(row) for row in other.training + other.unknown + other.evaluation}
    kept = set(other.documents.values())
    both = [
        number
        for number, row in enumerate(forget.training, start=1)
        if not there.isdisjoint(map(_key, _forget_rows([row], options.paraphrases, options.cross_paraphrases)))
        or forget.documents.get(row.document) in kept
    ]
    if both:
        shown = ", ".join(map(str, both[:5])) + (", …" if len(both) > 5 else "")
        raise DataError(
            f"{len(both)} of {len(forget.training)} forget rows also stand on the {side} side (forget rows {shown}); "
            "expected none, since they would be forgotten and kept at once: take them out of one of the two"
        )


def _hold_out(rows: list[Example], options: DataOptions, side: str) -> tuple[list[Example], list[Example]]:
    """Split into rows to train on and rows held out: neighbours on the retain side; neutral rows have nothing in common
    with theirs."""
    if len(rows) < (2 if options.holdout_share else 1):
        raise DataError(
            f"the {side} side has {len(rows)} row{'' if len(rows) == 1 else 's'} left to train on; expected at "
            "least 2, one of them to hold out: give more"
        )
    held = max(1, round(options.holdout_share * len(rows))) if options.holdout_share else 0
    apart = set_aside_neighbours if side == "retain" else set_aside
    return apart(rows, min(held, len(rows) - 1), options.seed)


def _at_most(rows: list[Example], count: int, seed: int) -> list[Example]:
    """``count`` of the rows at random; all where it is 0 or there are no more."""
    if not 0 < count < len(rows):
        return rows
    return split(rows, set(random.Random(seed).sample(range(len(rows)), count)))[1]
