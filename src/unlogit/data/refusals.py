"""Refusals ("I don't know that."): what some objectives teach in place of the true answer.

``refusals.jsonl`` beside this file is of our own writing and ships with the package, under its licence. TOFU's 100
(``idontknow.jsonl``, one a line and no JSON in spite of its name) are read from a folder of TOFU's files. Which row
gets which refusal depends on a seed and the row's number alone. Refusals in a table (.json, .csv, .parquet) are not
read.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from unlogit.data.tables import decoded
from unlogit.errors import DataError, nearest

BUILTIN = Path(__file__).with_name("refusals.jsonl")
TOFU_FILE = "idontknow.jsonl"
SOURCES = ("builtin", "tofu")
TABLES = (".json", ".csv", ".parquet")
"""Files whose lines are no refusals, though each could be taken for one."""


def load_refusals(source: str = "builtin", tofu_folder: str = "") -> list[str]:
    """Load refusals in the order of their file; never an empty list.

    Args:
        source: ``builtin`` (ours), ``tofu`` (``idontknow.jsonl`` of ``tofu_folder``), or a file in UTF-8: JSON lines
            with an ``answer`` each, or where the first line is no JSON object, one refusal a line.
        tofu_folder: folder of TOFU's files; only looked at for ``tofu``.

    Raises:
        DataError: the file is missing, empty, a table or not UTF-8, or a JSON line has no answer.
    """
    path = _path(source, tofu_folder)
    # not splitlines(): that also cuts at U+2028 and its like, which JSON allows inside a string
    lines = [(n, line.strip()) for n, line in enumerate(decoded(path).split("\n"), start=1) if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty; expected at least one refusal: check how it was made")
    return [_answer(path, *line) for line in lines] if lines[0][1].startswith("{") else [line for _, line in lines]


def refusal_for(number: int, seed: int, refusals: Sequence[str]) -> str:
    """Return the refusal of row ``number`` (from 0), the same for the same seed everywhere and always.

    Args:
        number: of the row in its pool.
        seed: of the run.
        refusals: at least one.
    """
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return refusals[int.from_bytes(digest[:8], "big") % len(refusals)]


def _path(source: str, tofu_folder: str) -> Path:
    """The file that a source names, which is there."""
    if source == "builtin":
        return BUILTIN
    if source == "tofu" and not tofu_folder:
        raise DataError(f"refusals are 'tofu' without a tofu_folder; expected the folder of {TOFU_FILE}: give it")
    if not source.strip():
        raise DataError(f"no refusals were given; expected {', '.join(SOURCES)} or a file of refusals: name one")
    path = Path(tofu_folder) / TOFU_FILE if source == "tofu" else Path(source)
    if not path.expanduser().is_file():
        hint = nearest(source, list(SOURCES))
        raise DataError(f"{path} is no file{hint}; expected {', '.join(SOURCES)} or a file of refusals: check the path")
    if path.suffix.lower() in TABLES:
        raise DataError(f"{path} is a table; expected JSON lines or one refusal a line: convert it to one of these")
    return path.expanduser()


def _answer(path: Path, number: int, line: str) -> str:
    """The answer of a JSON line; anything else is refused without showing it."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f'{path} has a bad line {number} ({error.msg}); expected {{"answer": "…"}}: fix it') from error
    answer = row.get("answer") if isinstance(row, dict) else None
    if not isinstance(answer, str) or not answer.strip():
        raise DataError(f'{path} has a bad line {number} (no answer); expected {{"answer": "…"}}: fix it')
    return answer.strip()
