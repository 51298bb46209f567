"""`unlogit compare` on a tiny random target, by the command line; its rows and table, and how it goes on."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

import pytest
import yaml

from support.tiny_run import Place, save_model
from unlogit.cli.main import main
from unlogit.compare.comparison import Processes, _threads, check_comparison, read_comparison
from unlogit.compare.results import (
    ComparisonResults,
)
from unlogit.errors import ConfigError
from unlogit.report.compare_table import caption, comparison_markdown
from unlogit.runs.results import RETAIN, RunResults


def config_of(place: Place, **changes: object) -> dict[str, object]:
    """A comparison of three methods on the made-up people: uld with two seeds, picked; two of full-model unlearning."""
    config: dict[str, object] = {
        "output": str(place.folder / "compare"),
        "target": str(place.folder / "target"),
        "data": {
            "forget": str(place.folder / "forget.jsonl"),
            "retain": str(place.folder / "retain.jsonl"),
            "holdout": str(place.folder / "holdout.jsonl"),
            "neutral": "none",
            "paraphrases": 0,
            "evaluation_rows": 6,
        },
        "train": {"batch_size": 4, "epochs": 1, "learning_rate": 0.01, "dtype": "float32"},
        "assistant": {"num_layers": 2, "rank": 4, "adapter": "full"},
        "evaluate": {
            "retain_model": str(place.folder / "retain_model"),
            "max_new_tokens": 4,
            "path_rows": 4,
            "samples": 2,
        },
        "methods": {
            "uld": {
                "seeds": [0, 1],
                "assistant": {"adapter": "lora"},
                "pick": {"enabled": True, "alphas": [0.5], "filter_rates": [0.0], "rules": ["suppress"]},
            },
            "grad_diff": None,
            "harder": {"train": {"objective": "npo_kl", "beta": 0.2}},
        },
    }
    return config | changes


def write(place: Place, config: dict[str, object]) -> Path:
    path = place.folder / "compare.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A comparison that has ended."""
    made = Place.make(tmp_path_factory.mktemp("place"))
    save_model(made.folder / "retain_model", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "run", run_here)
        assert main(["compare", str(write(made, config_of(made)))]) == 0
    return made


def run_here(self: Processes, line: Sequence[str], stdout: TextIO, **options: Any) -> int:
    """Begin no process of its own, which takes longer than what it does."""
    with redirect_stdout(stdout), redirect_stderr(stdout):
        return main(line[3:])


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "run", run_here)


@pytest.fixture
def found(place: Place) -> ComparisonResults:
    return ComparisonResults.read(place.folder / "compare" / "compare.json")


def test_rows(place: Place, found: ComparisonResults) -> None:
    """Target and retain model on top, a row for each seed; where something was picked, all are scored on test rows."""
    labels = [(row.label, row.seed) for row in found.rows]
    assert labels == [
        ("target", None),
        ("retain model", None),
        ("uld", 0),
        ("uld, picked", 0),
        ("uld", 1),
        ("uld, picked", 1),
        ("grad_diff", 0),
        ("harder", 0),
    ]
    assert found.about["rows"] == {"forget": 6, "retain": 4, "holdout": 8}
    assert found.rows[3].combination == {"rule": "suppress", "alpha": 0.5, "filter_rate": 0.0}
    assert found.rows[6].combination is None
    for row in found.rows[2:]:
        assert set(row.costs) == {"seconds", "seconds_a_step", "steps", "trainable_parameters", "peak_memory_bytes"}
        assert row.costs["steps"] == 2
        assert row.costs["peak_memory_bytes"] > 1e8
        assert 0 <= row.figures["forget_quality"] <= 1
    assert found.rows[2].figures != found.rows[4].figures


def test_figures_are_those_of_the_runs(place: Place, found: ComparisonResults) -> None:
    run = RunResults.read(place.folder / "compare" / "harder" / "seed-0" / "results.json")
    row = found.rows[-1]
    own = run.models["unlearned"]
    assert row.figures["retain_probability"] == own.splits["retain"].metrics["probability"].value
    assert row.figures["forget_rouge_l"] == own.splits["forget"].metrics["rouge_l_recall"].value
    assert row.figures["model_utility"] == own.model_utility.value
    assert row.costs["seconds"] == run.training["unlearned"]["seconds"]
    assert list(run.models) == [RETAIN, "unlearned"]  # read, not scored again; the target neither
    assert not any(name.startswith("flatness") for name in row.figures)
    trained = RunResults.read(place.folder / "compare" / "uld" / "seed-1" / "results.json").training["unlearned"]
    assert found.rows[4].figures["uniform_kl.retain"] == trained["uniform_kl_nats"]["holdout_retain"] > 0
    assert found.rows[5].figures["uniform_kl.retain"] == found.rows[4].figures["uniform_kl.retain"]
    reference = RunResults.read(place.folder / "compare" / "reference" / "results.json")
    assert len(reference.models["target"].splits["forget"].rows) == 8


def test_target_and_retain_model_are_shown_on_the_rows_of_the_methods(place: Place, found: ComparisonResults) -> None:
    """Mean probabilities of the rows that the methods were scored on, taken one by one from the reference's results."""
    run = RunResults.read(place.folder / "compare" / "harder" / "seed-0" / "results.json")
    rows = run.models["unlearned"].splits["forget"].rows
    whole = RunResults.read(place.folder / "compare" / "reference" / "results.json").models["target"].splits["forget"]
    by_row = dict(zip(whole.rows, whole.metrics["probability"].per_example, strict=True))
    expected = sum(by_row[row] for row in rows) / len(rows)
    assert found.rows[0].figures["forget_probability"] == pytest.approx(expected, abs=1e-12)
    assert found.rows[0].figures["forget_quality"] < 1
    shown = run.models[RETAIN].splits["forget"]
    assert shown.rows == rows


def test_leaks_membership_and_aggregate_are_among_the_figures(place: Place, found: ComparisonResults) -> None:
    """On the rows of the methods, for target and retain model, too; membership is read against the retain model's."""
    auc_of_retain_model = found.rows[1].figures["membership_inference"]
    for row in found.rows:
        assert 0 <= row.figures["forget.leak_at_1"] <= row.figures["forget.leak_at_2"] <= 1
        assert 0 <= row.figures["forget.secret_leak_at_2"] <= 1
        assert 0 <= row.figures["aggregate.memorisation"] <= 1
        assert 0 < row.figures["aggregate.privacy"] <= 1
        distance = abs(row.figures["membership_inference"] - auc_of_retain_model)
        assert (distance == 0) is (row.label == "retain model") or distance < 1
    assert found.rows[1].figures["aggregate.privacy"] == 1
    text = caption(found)
    assert "Leak@2, the worst of 2 drawn answers" in text
    assert "retain model 0." in text
    assert ("Aggregate ↑" in text) is ("aggregate" in found.rows[0].figures)
    lacking = "No aggregate: it lacks a target with a utility above 0."
    assert (lacking in text) is ("aggregate" not in found.rows[0].figures)
    assert "leak@2, secret told" in comparison_markdown(found)


def test_the_path_over_passes(place: Place, found: ComparisonResults) -> None:
    """One pass was made: one point, on four rows of each split; of several seeds the first has one."""
    assert [(row.seed, len(row.path)) for row in found.rows if row.label == "uld"] == [(0, 1), (1, 0)]
    (point,) = found.rows[-1].path
    assert point["epoch"] == 1
    assert {"forget_quality", "model_utility", "forget_probability", "retain_rouge_l_recall"} <= set(point)


def test_files(place: Place, found: ComparisonResults) -> None:
    with (place.folder / "compare" / "compare.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(found.rows)
    assert float(lines[-1]["forget_quality"]) == found.rows[-1].figures["forget_quality"]
    assert lines[0]["seed"] == ""
    assert (place.folder / "compare" / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert not [p for p in place.folder.rglob("*") if "checkpoints" in p.name]


@pytest.mark.usefixtures("in_this_process")
def test_what_has_ended_is_not_done_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One run lost its results and one lost all; the others' files stay as they are, to the byte and the moment."""
    folder = place.folder / "compare"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("training.json")}
    (folder / "harder" / "seed-0" / "results.json").unlink()
    shutil.rmtree(folder / "uld" / "seed-1")
    assert main(["compare", str(place.folder / "compare.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "scored already" in shown
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("training.json")}
    assert set(after) == set(before)
    assert {path.parent.parent.parent.name for path in after if after[path] != before[path]} == {"uld"}
    assert "is trained already" in (folder / "harder" / "seed-0.log").read_text()
    assert sorted(line.split(": ")[0] for line in shown.splitlines() if ": done" in line) == [
        "harder, seed 0",
        "uld, seed 1",
    ]
    assert (
        "Training by grad_diff" in (folder / "grad_diff" / "seed-0.log").read_text()
    )  # what it printed when it was trained


@pytest.mark.usefixtures("in_this_process")
def test_what_was_made_with_other_settings_is_not_shown(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another rate for one method: its old results are no row under the new settings; --again makes new ones."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    folder = place.folder / "compare"
    shutil.copytree(folder, place.folder / "changed")
    config = config_of(place, output=str(place.folder / "changed"))
    config["methods"]["grad_diff"] = {"train": {"learning_rate": 0.02}}  # type: ignore[index]
    path = place.folder / "changed.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    for run in ("uld/seed-0", "uld/seed-1", "grad_diff/seed-0", "harder/seed-0", "reference"):
        moved(place.folder / "changed" / run, str(folder), str(place.folder / "changed"))
    assert main(["compare", str(path)]) == 2
    shown = capsys.readouterr()
    assert "--again grad_diff" in shown.err
    assert "train.learning_rate 0.01 → 0.02" in shown.err
    names = [row.name for row in ComparisonResults.read(place.folder / "changed" / "compare.json").rows]
    assert set(names) == {"target", "retain model", "uld", "harder"}
    assert main(["compare", str(path), "--again", "grad_diff"]) == 0
    found = ComparisonResults.read(place.folder / "changed" / "compare.json")
    assert "grad_diff" in {row.name for row in found.rows}
    assert found.about["methods"]["grad_diff"]["train"]["learning_rate"] == 0.02
    assert set(found.about["methods"]["uld"]) == {"seeds", "train", "assistant", "combination", "pick", "data"}


def moved(run: Path, old: str, new: str) -> None:
    """Let the records of a copied run name the copy."""
    for path in (*run.glob("*.json"), *run.glob("*.yaml")):
        path.write_text(path.read_text().replace(old, new))


@pytest.mark.usefixtures("in_this_process")
def test_one_that_fails_does_not_take_the_others_along(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A method whose rows cannot be prepared: the others are in the table, the command ends with 2 and says why."""
    config = config_of(place)
    methods = {"grad_diff": None, "blown": {"train": {"objective": "ga"}, "data": {"neutral": "no.jsonl"}}}
    config |= {"methods": methods, "output": str(place.folder / "other")}
    assert main(["compare", str(write(place, config))]) == 2
    shown = capsys.readouterr()
    assert "blown, seed 0" in shown.err
    assert "no.jsonl" in shown.err
    assert "grad_diff" in shown.out
    names = {row.name for row in ComparisonResults.read(place.folder / "other" / "compare.json").rows}
    assert names == {"target", "retain model", "grad_diff"}


def test_shown_again_from_its_file(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(place.folder / "compare" / "compare.json")
    assert main(["compare", path]) == 0
    assert "uld, picked: suppress, α 0.5, filter 0" in capsys.readouterr().out
    assert main(["compare", path, "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| method | forget quality ↑ | forget R-L ≈ | model utility ↑ | retain R-L ↑ |")
    assert len(lines) == 2 + 6


WRONG = {
    "no methods": ({"methods": {}}, "methods"),
    "misspelt methods": ({"methods": None, "metods": {"ga": None}}, "'metods'"),
    "unknown objective": ({"methods": {"npo_k": None}}, "'npo_kl'"),
    "unknown section": (
        {"methods": {"ga": {"training": {}}}},
        "methods.ga.training",
    ),
    "unknown key": ({"methods": {"ga": {"train": {"epoch": 1}}}}, "'epochs'"),
    "bad seeds": ({"seeds": [-1]}, "seeds is [-1]"),
    "bad name": ({"methods": {"a/b": {"train": {"objective": "ga"}}}}, "methods.a/b"),
    "bad setting": ({"methods": {"ga": {"train": {"epochs": -1}}}}, "method ga: epochs is -1"),
    "seed of a method": ({"methods": {"ga": {"train": {"seed": 3}}}}, "methods.ga.train.seed"),
    "other rows": ({"methods": {"ga": {"data": {"seed": 3}}}}, "data.seed 3 → 0"),
    "other wordings": ({"methods": {"ga": {"data": {"paraphrases": 2}}}}, "data.paraphrases 2 → 0"),
    "other validation rows": (
        {"methods": {"uld": {"pick": {"validation_fraction": 0.4}}}},
        "pick.validation_fraction 0.4 → 0.25",
    ),
    "pick without branches": ({"methods": {"ga": {"pick": {"enabled": True}}}}, "nothing is combined"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_configs_are_refused_before_anything(place: Place, tmp_path: Path, name: str) -> None:
    changes, words = WRONG[name]
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(config_of(place, output=str(tmp_path / "out")) | changes))
    with pytest.raises(ConfigError) as error:
        check_comparison(read_comparison(path))
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_wrong_flags(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(place, config_of(place)))
    assert main(["compare", path, "--only", "uls"]) == 2
    assert "did you mean 'uld'?" in capsys.readouterr().err
    assert main(["compare", path, "--jobs=0"]) == 2
    assert main(["compare", str(place.folder / "none.json")]) == 2


def test_threads_are_shared_and_no_more_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for allowed, threads in ((None, [8, 4, 1]), ("3", [3, 3, 1]), ("0", [8, 4, 1]), ("4,2", [8, 4, 1])):
        if allowed is None:
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("OMP_NUM_THREADS", allowed)
        assert [_threads(jobs) for jobs in (1, 2, 20)] == threads


def test_interrupted_it_stops_the_run_at_once_and_goes_on_from_there(place: Place) -> None:
    """SIGINT to the process alone, while the only method would train for hours."""
    scored = place.folder / "long" / "reference"
    shutil.copytree(place.folder / "compare" / "reference", scored)
    moved(scored, str(place.folder / "compare"), str(place.folder / "long"))
    config = config_of(place, output=str(place.folder / "long"))
    config["methods"] = {"uld": {"train": {"epochs": 20_000, "save_steps": 5, "logging_steps": 1}}}
    line = [sys.executable, "-m", "unlogit", "compare", str(write(place, config)), "--jobs=2"]
    log = place.folder / "long" / "uld" / "seed-0.log"
    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell began in the background
    try:
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, was)
    try:
        while process.poll() is None and not (log.exists() and "step 6/" in log.read_text()):
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # itself, and what it began
    assert process.returncode == 130
    assert "failed" not in out
    assert error.splitlines()[-1].startswith("unlogit: interrupted; nothing is half-written; to go on: unlogit compare")
    assert "unlogit: interrupted" in log.read_text()
    assert list((place.folder / "long" / "uld" / "seed-0").glob("*checkpoints*/checkpoint-5"))
