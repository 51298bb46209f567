"""Requests one after the other, of a plan of seconds: each is made of what the one before it left."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import forget_asked, forget_in_a_row
from benchmarks.forget_case import FORMAT, forget
from benchmarks.forget_in_a_row import in_a_row_seed
from benchmarks.forget_table import forget_tables
from support.small_check import small_check
from unlogit.data.sources import read_prepared
from unlogit.evaluate.results import read_json
from unlogit.files import write_json

PLAN = forget_in_a_row.TINY_PLAN


@pytest.mark.slow
def test_each_request_adds_a_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the second, both people are asked about, and the table has a line for each request."""
    short = replace(PLAN, retained=6, strangers=1, repeats=1, finetune=replace(PLAN.finetune, epochs=1))
    monkeypatch.setattr(forget_in_a_row, "TINY_PLAN", short)
    monkeypatch.setattr(forget_in_a_row, "REQUESTS", 2)
    monkeypatch.setattr(forget_in_a_row, "FACTS", ("birthplace", "hobby"))
    monkeypatch.setattr(forget_asked, "SAMPLES", 2)
    monkeypatch.setattr(forget_asked, "MAX_NEW_TOKENS", 4)
    monkeypatch.setattr(forget_asked, "read_prepared", lambda path: read_prepared(path)[:16])
    small_check(monkeypatch, ghosts=3, samples=2, general_rows=4, max_new_tokens=8)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)
    monkeypatch.setattr("unlogit.runs.plan.MAX_STEPS", 2)
    monkeypatch.setattr("unlogit.runs.plan.PASSES", 1.0)
    found = in_a_row_seed(0, tmp_path, forget)
    assert [entry["told"]["as taught"]["rows"] for entry in found["requests"].values()] == [2, 4]
    assert {entry["others"]["rows"] for entry in found["requests"].values()} == {12}
    branches = [
        read_json(tmp_path / name / name / "unlearned" / "config.json")["branches"]
        for name in ("request_1", "request_2")
    ]
    assert [[branch["request"] for branch in of_run] for of_run in branches] == [
        ["request_1"],
        ["request_1", "request_2"],
    ]
    write_json(tmp_path / "in_a_row.json", {"format": FORMAT, "config": {"asked": "in_a_row"}, "seeds": {"0": found}})
    tables = forget_tables([tmp_path / "in_a_row.json"])
    assert "| in_a_row, 0, request 1 |" in tables
    assert "| in_a_row, 0, request 2 |" in tables
