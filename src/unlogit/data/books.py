"""Plain-text documents (books) in pieces: some to train on, and some that no model is ever trained on.

Membership inference and held-out perplexity need the second kind (MUSE, Shi et al. 2024, arXiv 2407.06460,
``holdout``). Neighbouring pieces form blocks, and evenly spaced blocks are held out. The last chapters would not do:
they have other persons and scenes, by which a model that saw neither part could tell the two apart (Duan et al. 2024,
arXiv 2402.07841). Nor would single pieces, each between two that are trained on. A document shorter than a block is one
block.

The header and the licence of Project Gutenberg are left out; nothing else of a text is changed.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.rows import cut_text
from unlogit.errors import ConfigError, DataError
from unlogit.settings.options import SplitOptions

SUFFIXES = (".txt", ".md")

_START = re.compile(r"\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK.*?\*\*\*", re.IGNORECASE | re.DOTALL)
_SMALL_PRINT = re.compile(r"^\*END\*? ?THE SMALL PRINT!.*$", re.IGNORECASE | re.MULTILINE)  # books before 2004
_END = re.compile(r"^(?:\*\*\* ?)?END OF (?:THE |THIS )?PROJECT GUTENBERG\b", re.IGNORECASE | re.MULTILINE)
_TITLE = re.compile(r"\s*\[[^\]\n]+ by [^\]\n]+ \d{4}\]\s*")  # the first line of the books that come with NLTK


@dataclass(frozen=True)
class Pieces:
    """Pieces of running text in the order of their documents."""

    training: list[Example]
    holdout: list[Example]


def find_documents(sources: Sequence[str], apart: Sequence[Path] = ()) -> list[Path]:
    """Return the files that sources name, a folder's by their names, without those of ``apart`` that a folder holds.

    Raises:
        DataError: a source does not exist, has another suffix, is named twice or also in ``apart``, or a folder has no
            file left.
    """
    documents: list[Path] = []
    elsewhere = {path.resolve() for path in apart}
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if _is_document(file) and file.resolve() not in elsewhere)
        elif path.is_file() and path.suffix.lower() in SUFFIXES:
            files = [path]
        else:
            kind = "has another suffix" if path.exists() else "does not exist"
            raise DataError(
                f"{source} {kind}; expected text files ({', '.join(SUFFIXES)}) or a folder of them: "
                "check the path, or convert it to text"
            )
        if not files:
            ends = ", ".join(SUFFIXES)
            raise DataError(f"the folder {source} has no document; expected files that end in {ends}: check the path")
        documents += files
    seen = set(elsewhere)
    for file in documents:
        if file.resolve() in seen:
            raise DataError(f"{file} was given twice; expected each document once, on one side: leave one of them out")
        seen.add(file.resolve())
    return documents


def _is_document(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_document(path: Path) -> str:
    """Read a text file, without the header and licence of Project Gutenberg.

    Raises:
        DataError: it is not UTF-8, or there is no text in it.
    """
    try:
        text = without_gutenberg(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); expected a text file: convert it") from error
    if not text:
        raise DataError(f"{path} holds no text; expected a document: leave it out")
    return text


def without_gutenberg(text: str) -> str:
    """Return a book without Project Gutenberg's header and licence, and without white space around it."""
    for head in (_START, _SMALL_PRINT):
        if match := head.search(text):
            text = text[match.end() :]
    if match := _END.search(text):
        text = text[: match.start()]
    if match := _TITLE.match(text):
        text = text[match.end() :]
    return text.strip()


def split_documents(documents: Sequence[str], tokenizer: Any, options: SplitOptions) -> Pieces:
    """Cut texts into pieces, at most the first ``max_pieces`` of each, and hold out blocks of them.

    Raises:
        ConfigError: a setting is out of range.
        DataError: one of the two parts would be empty, or the tokenizer gives no offsets.
    """
    check_split(options)
    cut = [cut_text(text, tokenizer, options.chunk_tokens)[: options.max_pieces or None] for text in documents]
    size = options.block_pieces
    blocks = [document[begin : begin + size] for document in cut for begin in range(0, len(document), size)]
    aside = held_out(len(blocks), options.holdout_share)
    if not any(aside) or all(aside):
        raise DataError(
            f"{sum(map(len, blocks))} pieces make {len(blocks)} block{'' if len(blocks) == 1 else 's'} of "
            f"{options.block_pieces}, and a share of {options.holdout_share:g} is {sum(aside)} of them; expected at "
            "least one block to train on and one held out: lower block_pieces or chunk_tokens, change "
            "holdout_share, or give more text"
        )
    pieces: tuple[list[Example], list[Example]] = ([], [])
    for block, held in zip(blocks, aside, strict=True):
        pieces[held].extend(Example("", piece, kind="text") for piece in block)
    return Pieces(*pieces)


def held_out(blocks: int, share: float) -> list[bool]:
    """Return for each of ``blocks``, in order, whether it is held out: about ``share`` of them, evenly spread.

    At 0.2 it is the middle one of every five, at 0.5 the second of every two.
    """
    passed = [math.ceil(i * share - 0.5) for i in range(blocks + 1)]  # of the first i, rounded
    return [passed[i + 1] > passed[i] for i in range(blocks)]


def check_split(options: SplitOptions) -> None:
    """Refuse what cannot be meant, all of it at once.

    Raises:
        ConfigError: a setting is out of range.
    """
    problems = [
        f"{name} is {value}, expected {expected}"
        for name, value, expected, good in (
            ("chunk_tokens", options.chunk_tokens, "16 or more", options.chunk_tokens >= 16),
            ("holdout_share", options.holdout_share, "a number between 0 and 1", 0 < options.holdout_share < 1),
            ("block_pieces", options.block_pieces, "1 or more", options.block_pieces >= 1),
            ("max_pieces", options.max_pieces, "0 or more", options.max_pieces >= 0),
        )
        if not good
    ]
    if problems:
        raise ConfigError(f"the documents cannot be split with these settings ({'; '.join(problems)}): change them")
