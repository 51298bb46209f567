"""A run to prepare: small files, the settings that read them, and what came of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unlogit.data.examples import Example
from unlogit.data.prepare import prepare
from unlogit.data.sources import read_prepared
from unlogit.errors import DataError
from unlogit.files import write_json_lines
from unlogit.settings.options import DataOptions, RunConfig

FORGET = [
    Example(
        f"Where was Person{i} born?",
        f"Person{i} was born in Town{i}.",
        paraphrased_answer=(f"In Town{i}, it is said.",),
    )
    for i in range(6)
]
RETAIN = [Example(f"Where does Other{i} live?", f"Other{i} lives in City{i}.") for i in range(30)]
NEUTRAL = [Example(f"What is {i} plus {i}?", f"It is {2 * i}.") for i in range(1, 11)]


class Setup:
    """A folder with forget, retain and neutral files, and a configuration that reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("forget", FORGET)
        self.write("retain", RETAIN)
        self.write("neutral", NEUTRAL)
        self.options = DataOptions(
            forget=str(folder / "forget.jsonl"),
            retain=str(folder / "retain.jsonl"),
            neutral=str(folder / "neutral.jsonl"),
            evaluation_rows=10,
        )

    def write(self, name: str, rows: list[Example]) -> None:
        write_json_lines(self.folder / f"{name}.jsonl", (row.to_row() for row in rows))

    def prepare(self, tokenizer: Any = None, **options: Any) -> dict[str, Any]:
        data = replace(self.options, **options)
        return prepare(RunConfig(output=str(self.folder / "run"), target="x", data=data), tokenizer)

    def rows(self, name: str) -> list[Example]:
        return read_prepared(self.folder / "run" / "data" / f"{name}.jsonl")

    def message_of(self, error: type[Exception] = DataError, **options: Any) -> str:
        with pytest.raises(error) as caught:
            self.prepare(**options)
        assert "\n" not in str(caught.value)
        assert not (self.folder / "run" / "data").exists()
        return str(caught.value)


def has_facts(message: str, *facts: str) -> bool:
    """Whether a message has all of these; its other words are free."""
    return all(fact in message for fact in facts)


def keys(rows: list[Example]) -> set[tuple[str, str]]:
    return {(row.question, row.answer) for row in rows}
