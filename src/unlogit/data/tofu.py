"""TOFU (Maini et al. 2024, arXiv 2401.06121, MIT licence) by name, with the augmentation that ULD's authors released.

``full`` holds 4000 rows about 200 authors who do not exist, 20 a person. ``retain_perturbed`` is its rows 0
to 399 with paraphrases and wrong answers; ``forget10`` its rows 3600 to 3999, ``forget05`` the last 200,
``forget01`` the last 40; ``retain90``, ``95``, ``99`` are the rows before these. The ``_perturbed`` splits
are for evaluation: nothing of them is ever trained on. The authors' augmentation is for training, and has
defects of its own, fixed here: paraphrases repeat each other, and some of the "wrong" answers say the truth.
"""

import ast
import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from unlogit.data.examples import Example
from unlogit.data.exchange import lowercase_words, says_the_same
from unlogit.data.rows import examples_from
from unlogit.data.tables import read_hub, read_table
from unlogit.errors import DataError, nearest

HUB = "locuslab/TOFU"

RETAIN_OF = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
"""The retain split that belongs to each forget split."""

NAMES = (
    "full",
    *RETAIN_OF,
    *RETAIN_OF.values(),
    *(f"holdout{share}" for share in ("01", "05", "10")),
    *(f"{name}_perturbed" for name in (*RETAIN_OF, "retain", "real_authors", "world_facts")),
    "real_authors",
    "world_facts",
)

EVALUATION_ROWS = 400
"""Rows at the head of every retain split that ``retain_perturbed`` holds: for evaluation, not for training."""

FORGET_ROWS = 400
"""Rows of forget10, the last of ``full``."""


def load_tofu(name: str, folder: str = "") -> list[Example]:
    """Load a split by its name, from a folder of TOFU's files (``full.json``, …) or, where empty, from the hub.

    ``retainNN:N`` keeps the N rows of ``retain_subset``; ``full:N`` is those of retain90 and then the whole
    of forget10, for a target that was trained on no more.

    Raises:
        DataError: there is no such split, file or number of rows.
    """
    split, colon, count = name.partition(":")
    if split not in NAMES:
        raise DataError(
            f"TOFU has no split {split!r}{nearest(split, list(NAMES))}; expected one of {', '.join(NAMES)}: name one"
        )
    if not colon:
        return _load(split, folder)
    if split != "full" and split not in RETAIN_OF.values():
        raise DataError(
            f"tofu:{name} asks for a part of {split!r}; expected full:N, retain90:N, retain95:N or "
            "retain99:N, the splits that a smaller target is trained on: leave the number out"
        )
    if not re.fullmatch(r"[0-9]+", count):
        raise DataError(f"tofu:{name} has {count!r} for a number of rows; expected tofu:{split}:500 or the like")
    rows = _load(split, folder)
    if split == "full":
        return [*retain_subset(rows[:-FORGET_ROWS], int(count)), *rows[-FORGET_ROWS:]]
    return retain_subset(rows, int(count))


def retain_subset(rows: list[Example], count: int) -> list[Example]:
    """Return the ``count`` rows of a retain split that a smaller target is trained on, half of them for evaluation.

    They are the first ``count // 2`` rows (at most 400: those of ``retain_perturbed``) and, for training the
    assistant on, as many as are lacking from row 400 on.

    Raises:
        DataError: there are fewer, or ``count`` is below 2.
    """
    if not 2 <= count <= len(rows):
        raise DataError(
            f"a subset of {count} retain rows was requested; expected 2 to {len(rows)}, which the split has: "
            "choose another number"
        )
    evaluation = evaluation_rows(count)
    return rows[:evaluation] + rows[EVALUATION_ROWS : EVALUATION_ROWS + count - evaluation]


def evaluation_rows(count: int) -> int:
    """Return how many rows of ``retain_perturbed`` belong to a retain subset of ``count`` rows."""
    return min(count // 2, EVALUATION_ROWS)


def _load(split: str, folder: str) -> list[Example]:
    if not folder:
        return examples_from(read_hub(HUB, split))
    return examples_from(read_table(_inside(folder, f"{split}.json")))


def _inside(folder: str, name: str) -> Path:
    path = Path(folder).expanduser() / name
    if not path.is_file():
        raise DataError(
            f"the TOFU folder {folder} has no {name}; expected the files of the hub data set {HUB}: check tofu_folder"
        )
    return path


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What was used of the authors' files and what was left out, in pairs and answers."""

    paraphrases: int = 0
    perturbed_answers: int = 0
    wrong_answers_that_say_the_truth: int = 0
    """Left out: they hold the true answer's words."""
    rows_short_of_paraphrases: int = 0
    rows_short_of_perturbed_answers: int = 0


def has_augmentation(forget_name: str, folder: str) -> bool:
    """Whether a folder has the authors' augmentation of a forget split; the hub has none."""
    return bool(folder) and (Path(folder).expanduser() / "augmentation" / f"{forget_name}_paraphrase.csv").is_file()


def load_tofu_augmentation(
    forget_name: str, folder: str, paraphrases: int, perturbations: int
) -> tuple[list[Example], Augmentation]:
    """Load a forget split with up to so many paraphrases and wrong answers of each row from ``folder/augmentation``.

    Paraphrases differ from the row and from each other, in question and in answer wherever the files allow. A
    wrong answer that says the truth, or repeats another, is left out. The wrong answers of all forget splits
    are in ``forget10_perturb.csv``, and found by their question.

    Raises:
        DataError: a file is missing or cannot be read, or a question of the split is not in it.
    """
    if forget_name not in RETAIN_OF:
        raise DataError(
            f"TOFU has no augmentation of {forget_name!r}{nearest(forget_name, list(RETAIN_OF))}; "
            f"expected one of {', '.join(RETAIN_OF)}: name one"
        )
    reworded = _augmentation(_inside(folder, f"augmentation/{forget_name}_paraphrase.csv"))
    wrong = _augmentation(_inside(folder, "augmentation/forget10_perturb.csv"))
    examples: list[Example] = []
    left_out = 0
    for row in load_tofu(forget_name, folder):
        for table in (reworded, wrong):
            if row.question not in table:
                raise DataError(
                    f"a question of {forget_name} is not in {folder}/augmentation; expected the augmentation "
                    "of the same rows: take both from one release"
                )
        pairs = _pairs(row, reworded[row.question], paraphrases)
        candidates = wrong[row.question][-1]
        wrong_answers = [a for a in candidates if not says_the_same(a, row.question, row.answer)]
        left_out += len(candidates) - len(wrong_answers)
        examples.append(
            replace(
                row,
                paraphrased_question=tuple(question for question, _ in pairs),
                paraphrased_answer=tuple(answer for _, answer in pairs),
                perturbed_answer=tuple(_distinct(wrong_answers)[:perturbations]),
            )
        )
    return examples, Augmentation(
        paraphrases=sum(len(e.paraphrased_answer) for e in examples),
        perturbed_answers=sum(len(e.perturbed_answer) for e in examples),
        wrong_answers_that_say_the_truth=left_out,
        rows_short_of_paraphrases=sum(len(e.paraphrased_answer) < paraphrases for e in examples),
        rows_short_of_perturbed_answers=sum(len(e.perturbed_answer) < perturbations for e in examples),
    )


def _pairs(row: Example, reworded: list[list[str]], count: int) -> list[tuple[str, str]]:
    """Up to ``count`` pairs of the distinct questions and answers; the scarcer kind is used again from its start."""
    questions = _distinct(reworded[0], besides=row.question) or [row.question]
    answers = _distinct(reworded[1], besides=row.answer) or [row.answer]
    longest = max(len(questions), len(answers))
    pairs = [(questions[i % len(questions)], answers[i % len(answers)]) for i in range(min(count, longest))]
    return [pair for pair in pairs if pair != (row.question, row.answer)]


def _distinct(texts: Iterable[str], besides: str = "") -> list[str]:
    """The texts that differ in their words from those before them and from ``besides``; blank ones left out."""
    seen = {tuple(sorted(lowercase_words(besides)))}
    distinct: list[str] = []
    for text in texts:
        bag = tuple(sorted(lowercase_words(text)))
        if bag and bag not in seen:
            distinct.append(text)
        seen.add(bag)
    return distinct


def _augmentation(path: Path) -> dict[str, list[list[str]]]:
    """Read one of the authors' CSV files: no header; question, answer, …; lists are Python literals.

    Returns the lists of each question, in the order of their columns.
    """
    table: dict[str, list[list[str]]] = {}
    for number, fields in enumerate(csv.reader(io.StringIO(path.read_text("utf-8"), newline="")), start=1):
        try:
            if len(fields) != 4:
                raise ValueError(f"{len(fields)} fields")
            lists = [ast.literal_eval(field) for field in fields[2:] if field.startswith("[")]
            if not lists or not all(isinstance(text, str) for texts in lists for text in texts):
                raise ValueError("no list of texts")
            if "paraphrase" in path.name and len(lists) != 2:
                raise ValueError(f"{len(lists)} lists of texts")
        except (ValueError, SyntaxError) as error:
            reason = error.args[0] if isinstance(error, ValueError) else "a list that cannot be read"
            raise DataError(
                f"{path} has a bad row {number} ({str(reason)[:80]}); expected the four fields of ULD's "
                "released files: take the file anew"
            ) from error
        table[fields[0]] = lists
    return table
