"""Running text split by document: pieces of one document are alike, and scoring one of them next to training on another
would flatter the model.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from unlogit.data.examples import Example

MIN_DOCUMENTS = 3
"""One to train on, one to score, one to hold out; with fewer, pieces are split."""


def document_texts(rows: Sequence[Example]) -> dict[str, str]:
    """Return the text of each document, by its name, whatever its case and spacing.

    Two copies of a document that differ in these are cut at different positions, so that their pieces may differ.
    """
    pieces: dict[str, list[str]] = {}
    for row in rows:
        if row.document:
            pieces.setdefault(row.document, []).append(row.answer)
    return {name: " ".join("".join(texts).casefold().split()) for name, texts in pieces.items()}


def ungroup_few_documents(rows: list[Example], side: str) -> tuple[list[Example], list[str]]:
    """Return the rows, and a note if there are too few documents to keep each on one side; rows then name none."""
    groups = _groups(rows)
    if len(groups) == len(rows) or len(groups) >= MIN_DOCUMENTS:
        return rows, []
    note = (
        f"the {side} side has {len(groups)} document{'' if len(groups) == 1 else 's'}, too few to keep each on one "
        "side: their pieces are split between training, holding out and evaluation"
    )
    return [replace(row, document="") for row in rows], [note]


def set_aside(rows: list[Example], count: int, seed: int, leave: int = 1) -> tuple[list[Example], list[Example]]:
    """Set about ``count`` rows aside at random; all rows of a document go the same way.

    Without documents it is ``count`` rows exactly. With them it is the documents, in random order, that fit into
    ``count``; the shortest one if none fits; ``leave`` documents stay. Both parts keep the order of the rows.
    """
    groups = _groups(rows)
    if len(groups) == len(rows) or count == 0:
        return split(rows, set(random.Random(seed).sample(range(len(rows)), count)))
    order = list(groups)
    random.Random(seed).shuffle(order)
    aside: set[int] = set()
    most = len(groups) - leave
    for group in order:
        if most > 0 and len(aside) + len(group) <= count:
            aside.update(group)
            most -= 1
    shortest = min(order, key=len)
    return split(rows, aside or set(shortest))


def set_aside_neighbours(
    rows: list[Example], count: int, seed: int, leave: int = 1
) -> tuple[list[Example], list[Example]]:
    """Set ``count`` neighbouring rows aside, from a random start; where there are documents, as ``set_aside`` does.

    Neighbours in a file are often about one subject. Set aside at random, each would have others of its subject among
    the training rows, and what is measured on them would be better than on a subject that was never seen.
    """
    if len(_groups(rows)) < len(rows) or count == 0:
        return set_aside(rows, count, seed, leave)
    begin = random.Random(seed).randrange(len(rows) - count + 1)
    return split(rows, set(range(begin, begin + count)))


def split(rows: Sequence[Example], aside: set[int]) -> tuple[list[Example], list[Example]]:
    """Return the rows whose indices are not in ``aside``, and those whose are."""
    return (
        [row for i, row in enumerate(rows) if i not in aside],
        [row for i, row in enumerate(rows) if i in aside],
    )


def _groups(rows: Sequence[Example]) -> list[list[int]]:
    """Return the row indices of each document; a row of no document is a group of its own."""
    groups: dict[str | int, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.document or i, []).append(i)
    return list(groups.values())
