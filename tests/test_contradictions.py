"""The same question to forget and to keep with different answers: named, and a reason not to pass."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.small_check import small_check
from support.tiny_run import PEOPLE, Place
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.data.sides import Side, contradicting_rows
from unlogit.files import write_json_lines


def test_which_rows_contradict() -> None:
    """Case and spacing of a question do not count; answers, and running text, do not either."""
    forget = Side(
        [Example("Who?", "Ann."), Example("Where?", "Ghent.", origin="f.csv row 7"), Example("", "x", kind="text")]
    )
    retain = Side([Example("When?", "Ann.")], [Example("who?", "Bob.")], [Example("  WHERE? ", "Rome.")])
    assert contradicting_rows(forget, retain) == ["forget row 1", "f.csv row 7"]
    assert contradicting_rows(forget, Side([Example("Where", "Ghent.")])) == []


def contradicting(folder: Path) -> Place:
    """The second forget question stands among the rows to keep with another answer."""
    place = Place.make(folder)
    rows = [replace(PEOPLE.forget[1], answer="Nobody knows."), *PEOPLE.retain]
    write_json_lines(folder / "retain.jsonl", (row.to_row() for row in rows))
    return place


def test_prepare_names_the_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = contradicting(tmp_path)
    assert place.prepare() == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "rows contradict: 1 of the 8 forget rows has another answer on the retain side" in shown
    assert f"{place.folder / 'forget.jsonl'} line 2" in shown
    assert "Nobody" not in shown


def test_forget_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_check(monkeypatch, ghosts=3, samples=0, general_rows=4, max_new_tokens=8)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)
    place = contradicting(tmp_path)
    paths = [f"--model={tmp_path / 'target'}", f"--forget={tmp_path / 'forget.jsonl'}", f"--output={place.run}"]
    flags = ["--train.epochs=1", "--train.dtype=float32", "--assistant.rank=4"]
    assert main(["forget", *paths, f"--retain={tmp_path / 'retain.jsonl'}", *flags]) == 3
    problems = json.loads((place.run / "check.json").read_text())["problems"]
    assert any(f"(first: {tmp_path / 'forget.jsonl'} line 2)" in problem for problem in problems)
