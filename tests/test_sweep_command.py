"""``unlogit sweep``: the files that it writes, what it leaves alone, and what it refuses."""

import csv
import io
import json
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ks_2samp

from support.tiny_run import Place, save_model
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.evaluate.ghost_reference import ghost_reference
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio
from unlogit.evaluate.pick import split_validation
from unlogit.evaluate.scoring.score import score_examples
from unlogit.files import write_json_lines
from unlogit.model.loading import load_tokenizer, load_unlearned
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import RunResults
from unlogit.settings.config_file import read_config
from unlogit.settings.options import CombinationOptions


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A trained run with a retain model and, though it was prepared without, four held-out neutral rows."""
    made = Place.make(tmp_path_factory.mktemp("place"))
    save_model(made.folder / "retain_model", seed=1)
    assert made.prepare() == 0
    assert made.train() == 0
    neutral = [Example(f"What is {word}?", f"{word} is a city.") for word in ("Paris", "Rome", "Oslo", "Bern")]
    write_json_lines(made.run / "data/holdout_neutral.jsonl", [row.to_row() for row in neutral])
    return made


def line(place: Place, *flags: str) -> list[str]:
    short = ["--alphas=[0, 0.5, 2]", "--filter_rates=[0, 0.1]", "--rules=[centred, suppress]"]
    return ["sweep", str(place.run), *short, f"--retain_model={place.folder / 'retain_model'}", *flags]


@pytest.fixture(scope="module")
def first(place: Place) -> tuple[str, dict[str, Any]]:
    """What a sweep of the run says, and its sweep.json, which later ones overwrite.

    Without --apply it leaves the run's settings as they are.
    """
    was = settings(place)
    with redirect_stdout(io.StringIO()) as said:
        assert main(line(place)) == 0
    assert settings(place) == was
    return said.getvalue(), json.loads((place.run / "sweep.json").read_text())


def left_over(place: Place) -> list[str]:
    return sorted(path.name for path in place.run.iterdir() if "sweep" in path.name)


def settings(place: Place) -> tuple[str, str]:
    return (place.run / "config.yaml").read_text(), (place.run / "unlearned/config.json").read_text()


def test_files_and_table(place: Place, first: tuple[str, dict[str, Any]]) -> None:
    """8 forget, 6 retain, 4 neutral rows, in parts of 2 and 6, 2 and 4, 2 and 2."""
    shown, tree = first
    assert "2 forget, 2 retain and 2 neutral rows choose, 6 forget, 4 retain and 2 neutral rows judge." in shown
    assert left_over(place) == ["sweep.csv", "sweep.json", "sweep.png"]
    assert json.loads((place.run / "sweep.json").read_text()) == tree
    assert tree["format"] == "unlogit sweep 1"
    assert tree["leaks"] == {}
    assert tree["config"]["sweep"]["alphas"] == [0, 0.5, 2]
    assert len(tree["rows"]) == 2 * 2 * 2
    best = max(tree["rows"], key=lambda row: (row["validation"]["objective"], -row["alpha"]))
    assert tree["picked"] == {name: value for name, value in best.items() if name != "front"}
    assert [text.split()[:4] for text in shown.splitlines() if text.startswith("picked")] == [
        ["picked", best["rule"], f"{best['alpha']:g}", f"{best['filter_rate']:g}"]
    ]
    assert tree["retain_model"]["ks_statistic"] == 0
    assert 0 < tree["retain_model"]["retain_kept"] <= 1
    with (place.run / "sweep.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [row["rule"] for row in lines][:2] == ["target", "centred"]
    assert sum(int(row["picked"]) for row in lines) == 1
    for one, row in zip(lines[1:], tree["rows"], strict=True):
        assert float(one["alpha"]) == row["alpha"]
        assert float(one["test_neutral_kept"]) == row["test"]["neutral_kept"]
        assert int(one["front"]) == row["front"]
    assert (place.run / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_the_next_line_evaluates_what_was_picked_on_the_rows_that_did_not_choose(
    place: Place, first: tuple[str, dict[str, Any]]
) -> None:
    shown, tree = first
    picked = tree["picked"]["test"]
    (following,) = (text for text in shown.splitlines() if text.startswith("Next"))
    program, *words = shlex.split(following.partition(": ")[2])
    assert program == "unlogit"
    assert main([*words, "--max_new_tokens=4"]) == 0
    results = RunResults.read(place.run / "results.json")
    assert results.rows == "test"
    evaluated = results.models["unlearned"]
    assert evaluated.splits["forget"].metrics["probability"].value == pytest.approx(
        picked["forget_probability"], abs=1e-5
    )
    assert evaluated.splits["retain"].metrics["probability"].value == pytest.approx(
        picked["retain_probability"], abs=1e-5
    )
    assert evaluated.splits["forget"].metrics["truth_ratio"].value == pytest.approx(
        picked["forget_truth_ratio"], abs=1e-5
    )
    assert evaluated.forget_quality is not None
    assert evaluated.forget_quality.value == pytest.approx(picked["forget_quality"], abs=1e-9)


def test_results_stand_for_the_retain_model(place: Place, first: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """Of all rows; the same combination is picked, and of the retain model itself nothing is said."""
    by_model = first[1]
    flags = [f"--retain_model={place.folder / 'retain_model'}", "--part=all", "--max_new_tokens=4"]
    assert main(["evaluate", str(place.run), *flags, "--with_target=false"]) == 0
    saved = tmp_path / "saved.json"
    RunResults.read(place.run / "results.json").write(saved)
    assert main(line(place, f"--retain_model={saved}")) == 0
    by_results = json.loads((place.run / "sweep.json").read_text())
    assert by_results["picked"]["test"] == pytest.approx(by_model["picked"]["test"], abs=1e-5)
    assert by_results["retain_model"] == {}


def test_without_a_retain_model_made_up_people_stand_in(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Target (alpha 0) and picked are compared with ghosts, and nothing is called forget quality."""
    assert main([word for word in line(place) if "retain_model" not in word]) == 0
    shown = capsys.readouterr().out
    tree = json.loads((place.run / "sweep.json").read_text())
    assert tree["by_ghosts"]
    assert tree["retain_model"] == {}
    assert "p-value" in shown
    assert "made-up people" in shown
    assert "quality\n" not in shown
    rows = read_prepared(place.run / "data/evaluation/forget.jsonl")
    model = load_unlearned(str(place.run), dtype="float32")
    tokenizer = load_tokenizer(str(place.run / "unlearned"))
    validation, test = split_validation(rows, 0.25, 0)
    reference = ghost_reference([*validation, *test], model.target, tokenizer, 0, batch_size=32)
    ratios, _ = reference.of(test)
    scores = score_examples(model.target, tokenizer, test, batch_size=4, generate=False)
    expected = ks_2samp([row_truth_ratio(score) for score in scores], ratios).statistic
    assert tree["target"]["test"]["ks_statistic"] == pytest.approx(expected)


def test_leak_at_k_of_what_was_picked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers are drawn where it is asked for: of target, retain model and the picked combination, on test rows."""
    assert main(line(place, "--samples=2", "--max_rows=6")) == 0
    tree = json.loads((place.run / "sweep.json").read_text())
    assert list(tree["leaks"]) == ["target", "retain model", "picked"]
    for leaks in tree["leaks"].values():
        assert set(leaks) == {"leak_at_1", "leak_at_2", "secret_leak_at_1", "secret_leak_at_2"}
    assert len({json.dumps(leaks) for leaks in tree["leaks"].values()}) > 1
    assert "Leak@2, the worst of 2 drawn" in " ".join(capsys.readouterr().out.split())


def test_apply(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The run combines as picked, and nothing else in its settings changes, the flags given to the sweep included."""
    before = read_config(place.run / "config.yaml")
    assert main(line(place, "--apply", "--max_rows=7", "--rules=[tail]")) == 0
    assert str(place.run) in capsys.readouterr().out
    tree = json.loads((place.run / "sweep.json").read_text())
    picked = CombinationOptions(*(tree["picked"][name] for name in ("rule", "alpha", "filter_rate")))
    assert tree["config"]["evaluate"]["max_rows"] == 7
    assert picked != before.combination
    assert read_config(place.run / "config.yaml") == before
    assert RunFolder(place.run).current_config() == replace(before, combination=picked)
    model = load_unlearned(str(place.run), dtype="float32")
    assert asdict(picked) == {name: getattr(model, name) for name in ("rule", "alpha", "filter_rate")}


def test_what_is_refused_in_one_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        "alphas": ["--alphas=[0]"],
        "filter_rate is 1.5": ["--filter_rates=[0, 1.5]"],
        "--rules": ["--rules=[centred, supress]"],
        "validation_fraction is 0.0": ["--validation_fraction=0"],
        "batch_size is 0": ["--batch_size=0"],
        "1 evaluation rows": ["--max_rows=1"],
        "no config.yaml": [],
    }
    for message, flags in cases.items():
        words = line(place, *flags)
        if not flags:
            words[1] = str(place.folder / "nowhere")
        assert main(words) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.startswith("unlogit: error: ")
        assert shown.count("\n") == 1


def test_a_run_of_full_model_unlearning_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    text = (place.run / "config.yaml").read_text()
    try:
        (place.run / "config.yaml").write_text(text.replace("objective: uld", "objective: grad_diff"))
        assert main(line(place)) == 2
        assert "grad_diff" in capsys.readouterr().err
    finally:
        (place.run / "config.yaml").write_text(text)


def test_interrupted_it_leaves_what_was_there(
    place: Place, first: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (place.run / name).read_bytes() for name in left_over(place)}
    was = settings(place)

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for where in ("unlogit.runs.sweep.sweep_combinations", "unlogit.report.plots.front_plot", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(where, cut)
            assert main(line(place, "--rules=[tail]", "--apply")) == 130
        assert "nothing is half-written" in capsys.readouterr().err
        assert {name: (place.run / name).read_bytes() for name in left_over(place)} == before
        assert settings(place) == was
        assert not [path for path in place.run.iterdir() if path.name.startswith(".")]


def test_a_new_training_drops_the_sweep_of_the_old_one(tmp_path: Path) -> None:
    other = Place.make(tmp_path)
    assert other.prepare() == 0
    assert other.train() == 0
    for name in ("sweep.json", "sweep.csv", "sweep.png"):
        (other.run / name).write_text("of the old one")
    assert other.train("--overwrite") == 0
    assert left_over(other) == []


def test_evaluate_picks_with_the_same_rows(place: Place, first: tuple[str, dict[str, Any]]) -> None:
    """The neutral ones among them: with the sweep's grid, pick.json has the sweep's validation figures."""
    grid = ["--pick.alphas=[2]", "--pick.filter_rates=[0.1]", "--pick.rules=[suppress]", "--pick.enabled=true"]
    flags = [f"--retain_model={place.folder / 'retain_model'}", "--max_new_tokens=4", "--with_target=false"]
    assert main(["evaluate", str(place.run), *flags, *grid]) == 0
    (row,) = json.loads((place.run / "pick.json").read_text())["table"]
    (swept,) = (
        one for one in first[1]["rows"] if (one["rule"], one["alpha"], one["filter_rate"]) == ("suppress", 2, 0.1)
    )
    assert swept["validation"] == pytest.approx({name: row[name] for name in swept["validation"]}, abs=1e-5)
    assert 0 < row["neutral_kept"] <= 1


def test_neutral_rows_are_split_in_halves(place: Place) -> None:
    """What chooses with ``evaluate --pick.enabled true`` is what chooses here, and never judges."""
    from unlogit.runs.evaluate import EvaluationRows
    from unlogit.runs.folder import RunFolder
    from unlogit.settings.options import PickOptions

    folder = RunFolder(place.run)
    config = replace(folder.read_config(), pick=PickOptions(enabled=True))
    rows = EvaluationRows.read(folder, config)
    both = [*rows.validation["neutral"], *rows.neutral]
    assert len(rows.validation["neutral"]) == len(rows.neutral) == 2
    assert sorted(row.question for row in both) == sorted(
        row.question for row in read_prepared(folder.data / "holdout_neutral.jsonl")
    )
    few = replace(config, evaluate=replace(config.evaluate, max_rows=2))
    assert len(EvaluationRows.read(folder, few).neutral) == 2


def test_without_matplotlib_all_but_the_plot_is_written(
    place: Place, first: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = (place.run / "sweep.png").read_bytes()
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    try:
        (place.run / "sweep.csv").unlink()
        assert main(line(place)) == 0
        output = capsys.readouterr()
        assert "sweep.png is skipped: matplotlib is not installed" in output.err
        assert "pip install 'unlogit[plots]'\n" in output.err
        assert "without a plot" in output.out
        assert left_over(place) == ["sweep.csv", "sweep.json"]
    finally:
        (place.run / "sweep.png").write_bytes(plot)
