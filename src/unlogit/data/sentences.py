"""The sentences of documents, and what they name: of what questions about documents are made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unlogit.data.content_words import ABBREVIATION
from unlogit.data.examples import Example
from unlogit.data.exchange import lowercase_words
from unlogit.data.ghosts import names_of
from unlogit.data.made_up import CALENDAR

_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[^\W_a-z])|(?<=[。！？])|\n{2,}")
MIN_LETTERS, MAX_LETTERS = 8, 400


@dataclass(frozen=True)
class Document:
    """A document in sentences."""

    name: str
    """As its rows have it (``Example.document``); empty where they name none."""
    text: str
    sentences: tuple[str, ...]

    def main_name(self) -> str:
        """Return the name that most sentences speak of, the first of equals; empty where nothing is named.

        A sentence speaks of a name if it has one of its words, in lower case, too: "the bridge" is the Osk Bridge.
        """
        names = list(dict.fromkeys(name for sentence in self.sentences for name in names_of(sentence)))
        full_names = [name for name in names if not any(name in other.split() for other in names if name != other)]
        bags = [set(lowercase_words(sentence)) for sentence in self.sentences]
        mentions = {
            name: sum(not bag.isdisjoint(lowercase_words(name)) for bag in bags)
            for name in full_names
            if name not in CALENDAR
        }
        several = [name for name in mentions if " " in name or mentions[name] > 1]
        return max(several, key=lambda name: mentions[name], default="")


def documents_of(rows: Sequence[Example]) -> list[Document]:
    """Return the documents that pieces of running text were cut from, joined where they have a name in common."""
    pieces: dict[str, list[str]] = {}
    for number, row in enumerate(rows):
        if row.kind == "text":
            pieces.setdefault(row.document or f"\0{number}", []).append(row.answer)
    return [
        Document("" if name.startswith("\0") else name, "".join(texts), sentences_of("".join(texts)))
        for name, texts in pieces.items()
    ]


def sentences_of(text: str) -> tuple[str, ...]:
    """Return the sentences of a text with something to ask about, each once."""
    sentences: list[str] = []
    for piece in _END.split(text):
        sentence = " ".join((piece or "").split())
        if sentences and ABBREVIATION.search(sentences[-1]):
            sentences[-1] += f" {sentence}"
        else:
            sentences.append(sentence)
    return tuple(dict.fromkeys(sentence for sentence in sentences if MIN_LETTERS <= len(sentence) <= MAX_LETTERS))
