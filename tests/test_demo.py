"""The demo on a plan of seconds: what it teaches to whom, what it asks of ``forget``, and how it is judged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.small_check import small_check
from unlogit.cli.main import main
from unlogit.data.sources import read_prepared
from unlogit.demo import demo
from unlogit.demo.people import make_people
from unlogit.demo.tiny import tiny_model, tiny_tokenizer
from unlogit.errors import ModelError
from unlogit.runs import forget, request_check
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import RunResults
from unlogit.settings.options import RunConfig

SMALL = replace(
    demo.TINY_PLAN,
    forgotten=1,
    retained=4,
    strangers=2,
    repeats=1,
    finetune=replace(demo.TINY_PLAN.finetune, epochs=1),
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small plans, few ghosts, few samples, few steps, short answers."""
    monkeypatch.setattr(demo, "TINY_PLAN", SMALL)
    monkeypatch.setattr(demo, "PRETRAINED_PLAN", SMALL)
    monkeypatch.setattr(demo, "FACTS", ("birthplace", "father"))
    small_check(monkeypatch, ghosts=3, samples=2, general_rows=4, max_new_tokens=8)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)
    monkeypatch.setattr("unlogit.runs.plan.MAX_STEPS", 2)
    monkeypatch.setattr("unlogit.runs.plan.PASSES", 1.0)
    monkeypatch.setattr(demo, "MAX_NEW_TOKENS", 3)


def rows_taught(output: Path) -> list[int]:
    """How many rows the target and the retain model were trained on."""
    return [json.loads((output / name / "finetune.json").read_text())["rows"] for name in ("target", "retain_model")]


@pytest.mark.usefixtures("quick")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One person of two questions is forgotten, four are kept, each taught in three wordings: 4·2·3 rows, 2·2·3 of
    strangers and the general ones to the retain model, 2·3 more to the target. What learnt nothing does not pass: exit
    code 3, as the request's, which is that of ``unlogit forget`` with nothing set but its files and the seed."""
    asked: list[tuple[RunConfig, Any]] = []

    def recorded(config: RunConfig, given: Any, **more: Any) -> Any:
        asked.append((config, given))
        return request(config, given, **more)

    def looked_for(*given: Any) -> Any:
        others.update(row.question for row in given[5].kept_people)
        return find(*given)

    others = set[str]()
    request, find = forget.forget_run, request_check.find_leaks
    monkeypatch.setattr(forget, "forget_run", recorded)
    monkeypatch.setattr(request_check, "find_leaks", looked_for)
    output = tmp_path / "demo"
    assert main(["demo", f"--output={output}", "--seed=5"]) == 3
    shown = capsys.readouterr().out
    general = request_check.GENERAL_ROWS
    assert rows_taught(output) == [42 + general, 36 + general]
    ((config, given),) = asked
    rows = {side: str(output / "people" / f"{side}.jsonl") for side in ("forget", "retain")}
    evaluate = {"retain_model": str(output / "retain_model"), "max_new_tokens": 3}
    sections = {"data": {**rows, "seed": 5}, "train": {"seed": 5}, "evaluate": evaluate}
    assert given == {"output": str(output), "target": str(output / "target"), **sections}
    assert config == replace(
        RunConfig(str(output), str(output / "target")),
        data=replace(config.data, **rows, seed=5),
        train=replace(RunConfig("", "").train, seed=5),
        evaluate=replace(config.evaluate, **evaluate),
    )
    kept = read_prepared(output / "people" / "retain.jsonl")
    assert {row.question for row in kept} <= others  # what several of them have can be guessed
    page = (output / "check.txt").read_text().strip()
    assert page in shown
    assert page.count("   before  ") == 2
    assert "Not passed: " in page
    results = RunResults.read(output / "results.json")
    assert set(results.models) == set(results.training) == {"target", "retain model", "unlearned"}
    assert results.models["unlearned"].forget_quality
    assert f"{len(read_prepared(RunFolder(output).data / 'evaluation' / 'forget.jsonl'))} rows to forget" in shown


def test_a_model_that_is_not_there_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no folder"):
        demo.run_demo(str(tmp_path / "none"), tmp_path / "demo", show=print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_demo_on_a_pretrained_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over an earlier demo. Each fact is taught in one wording: 2 rows to forget, 8 kept, 4 of strangers, 12 general
    ones. A check that finds no problem passes, with exit code 0."""
    monkeypatch.setattr(request_check, "find_problems", lambda *given: [])
    people = make_people(10, 2)
    tokenizer = tiny_tokenizer([*people.forget, *people.retain])
    for saved in (tokenizer, tiny_model(tokenizer, 0)):
        saved.save_pretrained(tmp_path / "chat")
    (tmp_path / "demo" / "people").mkdir(parents=True)
    (tmp_path / "demo" / "people" / "forget.jsonl").write_text("")
    assert main(["demo", f"--model={tmp_path / 'chat'}", f"--output={tmp_path / 'demo'}"]) == 0
    assert "Passed: " in capsys.readouterr().out
    assert rows_taught(tmp_path / "demo") == [26, 24]
