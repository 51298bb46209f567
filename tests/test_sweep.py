"""The sweep: each row against one evaluation by hand, what picks and what does not, the front, and the command."""

import csv
import io
import json
import math
import random
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp

from support.models_for_tests import EXAMPLES
from support.tiny_run import Place, save_model
from support.tiny_unlearned import TOKENIZER, Unlearned, truth_ratios
from unlogit.cli.main import main
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.ghost_reference import ghost_reference
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio
from unlogit.evaluate.pick import split_validation
from unlogit.evaluate.results import TruthRatios
from unlogit.evaluate.scoring.score import score_examples
from unlogit.evaluate.sweep import Sweep, figures, pareto_front, sweep_combinations, sweep_grid
from unlogit.files import write_json_lines
from unlogit.model.loading import load_tokenizer, load_unlearned
from unlogit.model.logit_difference import combine_logits
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import RunResults
from unlogit.runs.sweep import memorisation_warning
from unlogit.settings.config_file import read_config
from unlogit.settings.options import CombinationOptions, SweepOptions

PEOPLE, PLACES = ("Anna", "Bert", "Cora", "Dora", "Emil", "Frida"), ("paris", "rome", "oslo")
FORGET = [
    Example(
        f"who is {name} ?",
        f"{name} was born in {PLACES[i % 3]}",
        paraphrased_answer=(f"in {PLACES[i % 3]} {name} was born",) if i % 2 else (),
        perturbed_answer=(f"{name} was born in {PLACES[(i + 1) % 3]}", f"{name} wrote a book"),
    )
    for i, name in enumerate(PEOPLE)
]
RETAIN = [
    Example(f"who wrote the {word} book ?", name) for word, name in zip(("red", "blue", "green"), PEOPLE, strict=False)
]
NEUTRAL = [Example("", "one two three four five six", kind="text"), *EXAMPLES[2:]]
VALIDATION = {"forget": FORGET[:3], "retain": RETAIN[:1], "neutral": NEUTRAL[:2]}
TEST = {"forget": FORGET[3:], "retain": RETAIN[1:], "neutral": NEUTRAL[2:]}
OPTIONS = SweepOptions(alphas=(0.0, 0.4, 0.8, 2.0), filter_rates=(0.0, 0.02, 0.3))
HITS = {True: (0.1, 0.2, 0.0), False: (0.5, 1.0, 0.9)}
RETAIN_MODEL = replace(truth_ratios(FORGET, seed=3), exact_memorisation=(*HITS[True], *HITS[False]))


def sweep(**changed: Any) -> Sweep:
    settings: dict[str, Any] = {
        "validation": VALIDATION,
        "test": TEST,
        "retain": RETAIN_MODEL,
        "combinations": sweep_grid(OPTIONS),
        **changed,
    }
    return sweep_combinations(MODEL, TOKENIZER, batch_size=4, **settings)


MODEL = Unlearned()


@cache
def unpadded_logits(ids: tuple[int, ...]) -> list[torch.Tensor]:
    """Logits [T, V] of target and assistant on one row."""
    with torch.no_grad():
        return [one(torch.tensor([ids])).logits[0] for one in (MODEL.target, MODEL.assistant)]


def slow_loss(row: Example, answer: str, chosen: CombinationOptions) -> tuple[float, float]:
    """Mean cross-entropy and share of greedy hits of one unpadded answer, by combine_logits in one piece."""
    encoded = encode(replace(row, answer=answer), TOKENIZER)
    logits = unpadded_logits(tuple(encoded.input_ids))
    combined = combine_logits(
        logits[0], logits[1:], [1.0], rule=chosen.rule, alpha=chosen.alpha, filter_rate=chosen.filter_rate
    ).double()
    losses, hits = [], []
    for t in range(encoded.prompt_tokens, len(encoded.input_ids)):
        losses.append(-torch.log_softmax(combined[t - 1], -1)[encoded.input_ids[t]].item())
        hits.append(int(combined[t - 1].argmax()) == encoded.input_ids[t])
    return sum(losses) / len(losses), sum(hits) / len(hits)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def slow_figures(rows: dict[str, list[Example]], chosen: CombinationOptions) -> dict[str, float]:
    """The figures of one combination, written out."""
    target = replace(chosen, alpha=0.0)
    ratios = []
    for row in rows["forget"]:
        right = slow_loss(row, (row.paraphrased_answer or (row.answer,))[0], chosen)[0]
        ratios.append(math.exp(right - mean([slow_loss(row, wrong, chosen)[0] for wrong in row.perturbed_answer])))
    wanted = RETAIN_MODEL.values[: len(ratios)] if rows is VALIDATION else RETAIN_MODEL.values[-len(ratios) :]
    test = ks_2samp(ratios, wanted)

    def kept(split: str) -> float:
        losses = [(slow_loss(row, row.answer, chosen)[0], slow_loss(row, row.answer, target)[0]) for row in rows[split]]
        return mean([min(1.0, math.exp(alone - own)) for own, alone in losses])

    r = min(kept("retain"), kept("neutral"))
    memorised = mean([slow_loss(row, row.answer, chosen)[1] for row in rows["forget"]])
    d = min(1 - test.statistic, 1 - abs(memorised - mean(HITS[rows is VALIDATION])))
    return {
        "objective": 2 * d * r / (d + r) if d else 0.0,
        "ks_statistic": test.statistic,
        "forget_quality": test.pvalue,
        "forget_probability": mean([math.exp(-slow_loss(row, row.answer, chosen)[0]) for row in rows["forget"]]),
        "forget_exact_memorisation": mean([slow_loss(row, row.answer, chosen)[1] for row in rows["forget"]]),
        "forget_truth_ratio": mean([min(ratio, 1 / ratio) for ratio in ratios]),
        "retain_probability": mean([math.exp(-slow_loss(row, row.answer, chosen)[0]) for row in rows["retain"]]),
        "retain_exact_memorisation": mean([slow_loss(row, row.answer, chosen)[1] for row in rows["retain"]]),
        "retain_kept": kept("retain"),
        "neutral_kept": kept("neutral"),
    }


def test_rows_are_single_evaluations() -> None:
    """Ten of the 36 triples at random, and the target, on both parts."""
    found = sweep()
    assert [row.combination for row in found.rows] == sweep_grid(OPTIONS)
    for row in [found.target, *random.Random(0).sample(found.rows, 10)]:
        assert figures(row.validation) == pytest.approx(slow_figures(VALIDATION, row.combination), abs=1e-5)
        assert figures(row.test) == pytest.approx(slow_figures(TEST, row.combination), abs=1e-5)
    assert found.target.combination.alpha == 0
    assert found.counts == {
        "validation": {"forget": 3, "retain": 1, "neutral": 2},
        "test": {"forget": 3, "retain": 2, "neutral": 2},
    }


def test_the_pick_never_sees_a_test_row() -> None:
    """It is the best on validation rows, not on test rows; with other test rows it is the same."""
    found = sweep()
    rounded = [round(row.validation.objective, 5) for row in found.rows]  # what differs by rounding alone is a tie
    tied = [row for row, value in zip(found.rows, rounded, strict=True) if value == max(rounded)]
    assert found.picked in tied
    assert found.picked.test.objective < max(row.test.objective for row in found.rows)
    others = {"forget": FORGET[3:5], "retain": RETAIN[2:], "neutral": NEUTRAL[3:]}
    again = sweep(test=others)
    assert again.picked.combination == found.picked.combination
    for row, before in zip(again.rows, found.rows, strict=True):
        assert figures(row.validation) == pytest.approx(figures(before.validation), abs=1e-5)
    assert again.picked.test != found.picked.test


def test_without_neutral_rows() -> None:
    parts = [{name: rows for name, rows in part.items() if name != "neutral"} for part in (VALIDATION, TEST)]
    found = sweep(validation=parts[0], test=parts[1])
    assert {row.test.neutral_kept for row in found.rows} == {None}
    assert found.counts["test"]["neutral"] == 0


@pytest.mark.parametrize(("memorised", "warned"), [(0.7, True), (0.5, False)])
def test_what_was_picked_may_still_give_the_answers_out(memorised: float, warned: bool) -> None:
    """The target hits 0.9 and the retain model 0.3 of the tokens: above 0.6, the middle, there is a warning."""
    found = sweep()
    target, picked = (
        replace(row, test=replace(row.test, forget_exact_memorisation=share))
        for row, share in ((found.target, 0.9), (found.picked, memorised))
    )
    found = replace(found, target=target, picked=picked, retain_model={"forget_exact_memorisation": 0.3})
    message = memorisation_warning(found)
    assert bool(message) == warned
    assert ("70% of the forget answers' tokens" in message) == warned
    assert memorisation_warning(replace(found, retain_model={})) == ""


def test_the_best_are_distinct_and_begin_with_the_picked() -> None:
    """Without a filter, three rules are one distribution: of 5 rules and 3 alphas 9 rows are left, in order."""
    best = sweep(combinations=sweep_grid(replace(OPTIONS, filter_rates=(0.0,)))).best(10)
    assert len(best) == 9
    assert {row.combination.rule for row in best} == {"centred", "suppress", "rank"}
    objectives = [round(row.validation.objective, 5) for row in best]
    assert objectives == sorted(objectives, reverse=True)
    found = sweep()
    assert found.best(3)[0] is found.picked


def test_the_front_is_what_nothing_dominates() -> None:
    """Against all pairs, with many equal points among them."""
    chance = random.Random(1)
    for _ in range(50):
        points = [(chance.randrange(8) / 8, chance.randrange(8) / 8) for _ in range(30)]
        brute = {
            i for i, (a, b) in enumerate(points) if not any(c >= a and d >= b and (c, d) != (a, b) for c, d in points)
        }
        found = pareto_front(points)
        assert set(found) == brute
        assert len(found) == len(brute)
        assert [points[i][0] for i in found] == sorted((points[i][0] for i in found), reverse=True)
    swept = sweep()
    places = {row.combination: (row.test.retain_kept, -row.test.ks_statistic) for row in [swept.target, *swept.rows]}
    for row in swept.front():
        x, y = places[row.combination]
        assert not any(a >= x and b >= y and (a, b) != (x, y) for a, b in places.values())


def test_the_grid_has_each_triple_once_and_no_alpha_zero() -> None:
    grid = sweep_grid(SweepOptions(alphas=(0.0, 1.0, 1.0, 2.0), filter_rates=(0.0, 0.1), rules=("tail", "paper")))
    assert len(grid) == len(set(grid)) == 8
    assert min(one.alpha for one in grid) == 1.0
    default = sweep_grid(SweepOptions())
    assert len(default) == 5 * 21 * 6
    assert (max(one.alpha for one in default), max(one.filter_rate for one in default)) == (3.0, 0.3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alphas": ()}, "alphas"),
        ({"alphas": (0.0,)}, "alphas"),
        ({"alphas": (1.0, -0.5)}, "alpha is -0.5"),
        ({"alphas": (math.inf,)}, "alpha is inf"),
        ({"filter_rates": (1.0,), "rules": ("centered",)}, "filter_rate is 1.0"),
        ({"filter_rates": (1.0,), "rules": ("centered",)}, "'centred'"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
    ],
)
def test_grids_that_mean_nothing(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep_grid(replace(OPTIONS, **changed))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test": {**TEST, "retain": []}}, "no retain rows for test"),
        ({"validation": {**VALIDATION, "forget": RETAIN}}, "perturbed_answer"),
        (
            {"retain": TruthRatios("other", RETAIN_MODEL.rows[:3], RETAIN_MODEL.values[:3])},
            "3 of 'other'",
        ),
    ],
)
def test_rows_that_cannot_be_swept(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        sweep(**changed)


# ---------------------------------------------------------------- the command


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
