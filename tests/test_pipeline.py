"""The whole way on a tiny random target and made-up people, by the command line only, as a user would."""

import json
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from support.tiny_run import Place, save_model
from unlogit.cli.main import main
from unlogit.evaluate.results import MetricResult, Results, SplitResult
from unlogit.model.loading import load_tokenizer, load_unlearned
from unlogit.runs.answers import ModelPair, answers
from unlogit.runs.evaluate import other_results
from unlogit.runs.evaluate_run import _leak_warning
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import RETAIN, RunResults
from unlogit.settings.config_file import read_config

SHORT = "--max_new_tokens=6"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A trained run, and a retain model that is another random model; the tests below go on with it in order."""
    made = Place.make(tmp_path_factory.mktemp("place"))
    save_model(made.folder / "retain_model", seed=1)
    assert made.prepare() == 0
    assert made.train() == 0
    return made


@pytest.fixture
def retain_flag(place: Place) -> str:
    return f"--retain_model={place.folder / 'retain_model'}"


def test_what_a_trained_run_holds(place: Place) -> None:
    found = {str(path.relative_to(place.run)) for path in place.run.rglob("*") if path.is_file()}
    assert found >= {
        "config.yaml",
        "data/summary.json",
        "data/evaluation/retain.jsonl",
        "assistant/assistant.safetensors",
        "assistant/training.json",
        "unlearned/config.json",
        "unlearned/assistant/assistant.safetensors",
        "unlearned/tokenizer.json",
    }
    assert not [name for name in found if "checkpoint" in name]
    for secret in ("assistant", "unlearned/assistant"):
        assert stat.S_IMODE((place.run / secret / "assistant.safetensors").stat().st_mode) == 0o600
    assert read_config(place.run / "config.yaml").assistant.rank == 4


def test_what_training_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No assistant is uniform to a billionth of a nat: it warns of that, of too little training, and of the secret."""
    monkeypatch.setattr("unlogit.training.uniformity.UNIFORM_ENOUGH_NATS", 1e-9)
    other = Place.make(tmp_path)
    assert other.prepare() == 0
    assert other.train() == 0
    shown = capsys.readouterr()
    assert "forget.jsonl" in shown.out
    assert "step 4/4" in shown.out
    rows = json.loads((other.run / "data/summary.json").read_text())["rows"]
    said = [
        rf"[\d.]+ on {rows[f'holdout_{name}']} {name} rows" for name in ("retain", "neutral") if rows[f"holdout_{name}"]
    ]
    assert re.search(r"KL from uniform in nats, on rows it never saw \(.*\): " + ", ".join(said) + r"\.", shown.out)
    assert f"Next: unlogit evaluate {other.run}" in shown.out
    warnings = shown.err.splitlines()
    assert len(warnings) == 3
    assert "is far from uniform" in warnings[0]
    assert "has hardly learnt what it is to remember" in warnings[1]  # in 4 steps
    assert "as secret as the forget set" in warnings[2]


def test_evaluate(place: Place, retain_flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(place.run), SHORT, retain_flag]) == 0
    shown = capsys.readouterr()
    for row in ("target", "retain model", "unlearned"):
        assert [line for line in shown.out.splitlines() if line.startswith(f"{row} ") and len(line) <= 88]
    assert "↑ higher is better" in shown.out
    assert shown.err == ""
    results = RunResults.read(place.run / "results.json")
    assert list(results.models) == ["target", RETAIN, "unlearned"]
    assert results.rows == "all"
    assert results.config["train"]["batch_size"] == 4
    assert results.models["unlearned"].config["combination"] == {"rule": "centred", "alpha": 1.1, "filter_rate": 0.001}
    assert results.models["unlearned"].forget_quality is not None
    assert results.models[RETAIN].forget_quality is None
    target, unlearned = (probability(results.models[name]) for name in ("target", "unlearned"))
    assert target != unlearned


def test_evaluate_with_drawn_answers(place: Place, retain_flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Leak@k of target, retain model and unlearned model alike, in results and under the table; -1 is refused."""
    assert main(["evaluate", str(place.run), SHORT, retain_flag, "--samples=2", "--max_rows=3"]) == 0
    assert "Leak@2, the worst of 2 drawn" in " ".join(capsys.readouterr().out.split())
    results = RunResults.read(place.run / "results.json")
    for model in results.models.values():
        assert model.splits["forget"].metrics["leak_at_2"].count == 3
        assert model.aggregate is not None
        assert "held-out rows (prepare with --holdout)" in model.aggregate.missing
    assert main(["evaluate", str(place.run), "--samples=-1"]) == 2
    assert "samples is -1; expected 0 or more" in capsys.readouterr().err


def probability(results: Results) -> float:
    """The mean probability on forget rows."""
    return results.splits["forget"].metrics["probability"].value


def test_earlier_results_stand_for_the_retain_model(place: Place, retain_flag: str, tmp_path: Path) -> None:
    """The same rows, the same truth ratios: the same forget quality, to the bit, and the retain model's row too."""
    assert main(["evaluate", str(place.run), SHORT, retain_flag]) == 0
    first = RunResults.read(place.run / "results.json")
    saved = tmp_path / "saved.json"
    first.write(saved)
    assert main(["evaluate", str(place.run), SHORT, f"--retain_model={saved}"]) == 0
    second = RunResults.read(place.run / "results.json")
    assert second.models["unlearned"].forget_quality == first.models["unlearned"].forget_quality
    assert second.models[RETAIN] == first.models[RETAIN]


def test_results_without_a_retain_model_do_not_stand_for_it(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunResults({}).write(tmp_path / "none.json")
    assert main(["evaluate", str(place.run), f"--retain_model={tmp_path / 'none.json'}"]) == 2
    assert "expected a retain model's" in capsys.readouterr().err


def test_without_target_and_with_other_combination(place: Place) -> None:
    """At alpha 0 the unlearned model is the target; what evaluation was asked for is not kept, ``combine``'s is."""
    before = (place.run / "unlearned" / "config.json").read_bytes(), (place.run / "config.yaml").read_bytes()
    assert main(["evaluate", str(place.run), SHORT, "--retain_model=", "--alpha=0"]) == 0
    results = RunResults.read(place.run / "results.json")
    assert probability(results.models["target"]) == probability(results.models["unlearned"])
    assert results.models["unlearned"].forget_quality is None
    assert before == ((place.run / "unlearned" / "config.json").read_bytes(), (place.run / "config.yaml").read_bytes())
    assert main(["combine", str(place.run), "--alpha=0"]) == 0
    assert main(["evaluate", str(place.run), SHORT, "--retain_model=", "--with_target=false"]) == 0
    again = RunResults.read(place.run / "results.json")
    assert list(again.models) == ["unlearned"]
    assert again.models["unlearned"].splits == results.models["unlearned"].splits
    assert RunFolder(place.run).combination().alpha == 0
    assert main(["combine", str(place.run), "--alpha=0.75"]) == 0


def test_pick(place: Place, retain_flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """8 forget and 6 retain rows: a quarter of each (2 and 2) chooses, 6 and 4 are scored, and none of them chose."""
    flags = ["--pick.enabled=true", "--pick.alphas=[0.3, 3.0]", "--pick.filter_rates=[0.0]", "--pick.rules=[suppress]"]
    assert main(["evaluate", str(place.run), SHORT, retain_flag, *flags]) == 0
    shown = capsys.readouterr().out
    assert "Choosing the combination on 2 forget and 2 retain rows." in shown
    assert f"unlogit combine {place.run} --rule suppress --alpha" in " ".join(shown.split())
    results = RunResults.read(place.run / "results.json")
    assert list(results.models) == ["target", RETAIN, "unlearned", "picked"]
    assert results.rows == "test"
    assert {name: len(split.rows) for name, split in results.models["picked"].splits.items()} == {
        "forget": 6,
        "retain": 4,
    }
    tried = json.loads((place.run / "pick.json").read_text())
    picked = tried["combination"]
    assert len(tried["table"]) == 2
    assert picked["rule"] == "suppress"
    assert results.models["picked"].config["combination"] == picked
    assert results.models["unlearned"].config["combination"]["rule"] == "centred"
    model = load_unlearned(str(place.run), dtype="float32")
    assert (model.rule, model.alpha, model.filter_rate) == ("centred", 0.75, 0.001)
    assert main(["combine", str(place.run), "--rule=suppress", f"--alpha={picked['alpha']}", "--filter_rate=0"]) == 0
    assert main(["evaluate", str(place.run), SHORT, "--max_rows=4"]) == 0
    kept = RunResults.read(place.run / "results.json").models["unlearned"]
    assert kept.config["combination"] == picked
    assert asdict(RunFolder(place.run).combination()) == picked
    assert main(["train", str(place.run), "--resume"]) == 0  # writes unlearned/ anew
    model = load_unlearned(str(place.run), dtype="float32")
    assert (model.rule, model.alpha) == ("suppress", picked["alpha"])


@pytest.mark.parametrize(("picked", "said"), [(0.6, ""), (0.61, "61% of the forget answers' tokens are still the")])
def test_a_pick_that_still_gives_the_answers_out_is_warned_of(
    picked: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half way from the retain model's 0.3 to the target's 0.9 is 0.6; without a retain model nothing is expected."""
    found = {
        name: Results(
            name,
            {
                "forget": SplitResult(
                    "forget", {"exact_memorisation": MetricResult("exact_memorisation", share, (), 1, "lower", "")}, ()
                )
            },
        )
        for name, share in (("target", 0.9), (RETAIN, 0.3), ("unlearned", 1.0), ("picked", picked))
    }
    shown = _leak_warning(found)
    assert (said in shown) if said else (shown == "")
    assert _leak_warning({name: one for name, one in found.items() if name != RETAIN}) == ""


def test_pick_by_earlier_results(place: Place, retain_flag: str, tmp_path: Path) -> None:
    """All rows were scored earlier: both the rows that choose and those that are scored are among them."""
    flags = ["--pick.alphas=[0.3, 3.0]", "--pick.rules=[suppress]", SHORT]
    assert main(["evaluate", str(place.run), *flags, retain_flag, "--pick.enabled=true"]) == 0
    by_model = json.loads((place.run / "pick.json").read_text())
    assert main(["evaluate", str(place.run), *flags, retain_flag, "--pick.enabled=false"]) == 0
    saved = tmp_path / "saved.json"
    RunResults.read(place.run / "results.json").write(saved)
    line = ["evaluate", str(place.run), *flags, f"--retain_model={saved}", "--pick.enabled=true"]
    assert main(line) == 0
    assert json.loads((place.run / "pick.json").read_text())["combination"] == by_model["combination"]
    models = RunResults.read(place.run / "results.json").models  # it was measured on more rows: shown on these only
    assert models[RETAIN].splits["forget"].rows == models["picked"].splits["forget"].rows
    assert len(models[RETAIN].splits["forget"].metrics["probability"].per_example) == 6
    assert main(["evaluate", str(place.run), "--pick.enabled=false", "--retain_model="]) == 0


def test_another_model_on_the_same_rows(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place.run / "results.json").read_bytes()
    other = place.folder / "retain_model"
    assert main(["evaluate", str(place.run), f"--model={other}", "--max_rows=3", SHORT]) == 0
    (file,) = place.run.glob("results_retain_model_*.json")
    results = RunResults.read(file)
    assert list(results.models) == [str(other)]
    assert len(results.models[str(other)].splits["forget"].rows) == 3
    assert (place.run / "results.json").read_bytes() == before
    assert str(other.name) in capsys.readouterr().out


def test_models_of_the_same_name_have_results_of_their_own(tmp_path: Path) -> None:
    for name in ("a/model", "b/model"):
        (tmp_path / name).mkdir(parents=True)
    run = RunFolder(tmp_path / "run")
    names = [str(tmp_path / "a/model"), str(tmp_path / "b/model"), "a/model", "b/model"]
    assert len({other_results(run, name) for name in names}) == 4
    assert other_results(run, f"{names[0]}/") == other_results(run, names[0])


def test_a_target_that_is_given_is_used_or_refused(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typo and another model are errors; the same target elsewhere is used, and recorded by ``combine`` alone."""
    before = (place.run / "config.yaml").read_bytes()
    line = ["evaluate", str(place.run), SHORT, "--max_rows=2", "--retain_model="]
    assert main([*line, f"--target={tmp_path / 'typo'}"]) == 2
    assert "typo' is no folder" in capsys.readouterr().err
    assert main([*line, f"--target={place.folder / 'retain_model'}"]) == 2
    assert "the assistant belongs to" in capsys.readouterr().err
    assert (place.run / "config.yaml").read_bytes() == before
    moved = tmp_path / "moved"
    shutil.copytree(place.folder / "target", moved)
    assert main([*line, f"--target={moved}"]) == 0
    assert (place.run / "config.yaml").read_bytes() == before
    assert main(["combine", str(place.run), f"--target={moved}"]) == 0
    assert read_config(place.run / "config.yaml").target == str(moved)
    shutil.rmtree(place.folder / "target")
    assert main(line) == 0
    shutil.copytree(moved, place.folder / "target")
    assert main(["train", str(place.run), "--resume"]) == 0
    assert main([*line, f"--target={place.folder / 'target'}", "--max_rows=0"]) == 0


def test_chat(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The words of the table are the greedy answers of both models; brackets in a question are no markup."""
    assert main(["chat", str(place.run), "--question=Who [is it]?", "--question=Where?", SHORT]) == 0
    shown = capsys.readouterr().out
    assert "Who [is it]?" in shown
    assert "Where?" in shown
    model, tokenizer = load_unlearned(str(place.run), dtype="float32"), load_tokenizer(str(place.run))
    model.alpha, model.filter_rate = 1000.0, 0.0  # four steps have not taught it much
    ((_, before, after),) = answers(ModelPair(model.target, model), tokenizer, ["Where?"], 6)
    assert before != after
    ids = tokenizer("Question: Where?\nAnswer:", return_tensors="pt").input_ids
    with torch.inference_mode():
        whole = model.target.generate(ids, max_new_tokens=6, do_sample=False)
    assert before == tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert before


def test_conversation(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-D and Ctrl-C end it; so does an empty line."""
    for end in (EOFError(), KeyboardInterrupt(), ""):
        typed = iter(["Where is it?", end])

        def read(_: str, lines: Iterator[Any] = typed) -> str:
            line = next(lines)
            if isinstance(line, BaseException):
                raise line
            return str(line)

        monkeypatch.setattr("builtins.input", read)
        assert main(["chat", str(place.run), SHORT]) == 0
        shown = capsys.readouterr()
        assert "Where is it?" in shown.out
        assert shown.out.endswith("Goodbye.\n")
        assert shown.err == ""
