"""Rows that no request concerns: general questions, instructions and text, on which the assistant must be near-uniform.

Without them the assistant is near-uniform on the retain rows alone, and answers to general questions turn to gibberish.
``neutral.jsonl`` beside this file is of our own writing and ships with the package, under its licence, as does
``general.jsonl``: general questions with short answers that are asked and never trained on, in no order of subjects.
None of them is a neutral row.
"""

from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.sources import read_examples

BUILTIN = Path(__file__).with_name("neutral.jsonl")
GENERAL = Path(__file__).with_name("general.jsonl")


def load_neutral(source: str, tokenizer: Any = None, chunk_tokens: int = 256) -> list[Example]:
    """Load the neutral rows: ``builtin`` (ours), ``none`` (no rows), or any source of ``read_examples``.

    Raises:
        DataError: the source cannot be found or read, or holds rows that cannot be used.
    """
    if source == "none":
        return []
    name = str(BUILTIN) if source == "builtin" else source
    return read_examples(name, tokenizer=tokenizer, chunk_tokens=chunk_tokens)
