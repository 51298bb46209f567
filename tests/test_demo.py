"""The demo on a plan of seconds: what it teaches to whom, what it scores and what it asks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from unlogit.cli.main import main
from unlogit.data.sources import read_prepared
from unlogit.demo import demo
from unlogit.demo.people import make_people
from unlogit.demo.tiny import tiny_model, tiny_tokenizer
from unlogit.errors import ModelError
from unlogit.runs.results import RunResults

SMALL = replace(
    demo.TINY_PLAN,
    forgotten=1,
    retained=3,
    unseen_people=6,
    questions=2,
    known_rows=3,
    evaluation_rows=2,
    finetune=replace(demo.TINY_PLAN.finetune, epochs=1),
    train=replace(demo.TINY_PLAN.train, epochs=1, batch_size=4),
    cross_paraphrases=False,
    max_new_tokens=3,
)


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One person of two questions is forgotten, three are kept, three general questions known. Everything about people
    is taught in three wordings: 3 + 3·2·3 = 21 rows to the retain model, 2·3 more to the target. Of the six rows kept
    two are scored, one is held out, and three train the assistant, beside the twelve of the unseen people."""
    monkeypatch.setattr(demo, "TINY_PLAN", SMALL)
    output = tmp_path / "demo"
    assert main(["demo", f"--output={output}"]) == 0
    shown = capsys.readouterr().out
    taught = {name: json.loads((output / name / "finetune.json").read_text()) for name in ("target", "retain_model")}
    assert {name: summary["rows"] for name, summary in taught.items()} == {"target": 27, "retain_model": 21}
    counts = json.loads((output / "data" / "summary.json").read_text())["rows"]
    assert [counts[name] for name in ("forget", "retain", "holdout_retain", "evaluation/retain")] == [6, 15, 1, 2]
    people = read_prepared(output / "people" / "retain.jsonl")
    aside = read_prepared(output / "data" / "evaluation" / "retain.jsonl")
    aside += read_prepared(output / "data" / "holdout_retain.jsonl")
    assert {row.question for row in aside} <= {row.question for row in people[:6]}
    results = RunResults.read(output / "results.json")
    assert set(results.models) == {"target", "retain model", "unlearned"}
    assert set(results.training) == set(results.models)
    assert results.training["target"]["seconds"] == taught["target"]["seconds"]
    assert "training" in shown
    for side in ("forget", "retain"):
        question = read_prepared(output / "data" / "evaluation" / f"{side}.jsonl")[0].question
        assert " ".join(question.split()[:3]) in shown
    demo.run_demo("tiny", output, show=print)  # over an earlier one


def test_a_model_that_is_not_there_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no folder"):
        demo.run_demo(str(tmp_path / "none"), tmp_path / "demo", show=print)
    assert list(tmp_path.iterdir()) == []


def test_demo_on_a_pretrained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fact is taught in one wording: 2 rows to forget, 6 kept, 3 general ones. It is asked what all know, too."""
    people = make_people(10, 2)
    tokenizer = tiny_tokenizer([*people.forget, *people.retain])
    for saved in (tokenizer, tiny_model(tokenizer, 0)):
        saved.save_pretrained(tmp_path / "chat")
    general = ("What is the capital of Peru?", "What is the capital of Chile?")
    monkeypatch.setattr(demo, "PRETRAINED_PLAN", replace(SMALL, general=general))
    assert main(["demo", f"--model={tmp_path / 'chat'}", f"--output={tmp_path / 'demo'}"]) == 0
    shown = capsys.readouterr().out
    taught = [
        json.loads((tmp_path / "demo" / name / "finetune.json").read_text()) for name in ("target", "retain_model")
    ]
    assert [summary["rows"] for summary in taught] == [11, 9]
    assert "of Peru?" in shown
    assert "of Chile?" in shown
