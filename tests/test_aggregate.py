"""The aggregate: by hand on a few rows, its interval against an own bootstrap, and what it says it lacks."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.models_for_tests import EXAMPLES, tiny_llama, tiny_tokenizer
from unlogit.compare.results import ComparisonResults, Row
from unlogit.evaluate.aggregate import RETAIN_MISSING, aggregate
from unlogit.evaluate.evaluate import evaluate_model
from unlogit.evaluate.metrics.membership_inference import SCORES, membership_of
from unlogit.evaluate.metrics.model_utility import model_utility
from unlogit.evaluate.results import MetricResult, Results, SplitResult
from unlogit.report.aggregate_plot import aggregate_plot, has_aggregate
from unlogit.report.compare_table import caption, comparison_markdown
from unlogit.report.run_table import aggregate_line
from unlogit.runs.results import RETAIN, RunResults, with_aggregates
from unlogit.settings.options import EvaluateOptions


def metric(name: str, *values: float, value: float | None = None) -> MetricResult:
    mean = statistics.mean(values) if value is None else value
    return MetricResult(name, mean, values, len(values), "lower", "", tuple(range(len(values))))


def results(name: str, remembers: float, forget_losses: tuple[float, ...] = (1.0, 3.0)) -> Results:
    """Two forget rows, two held-out ones, one to keep; ``remembers`` is in all parts of memorisation."""
    forget = SplitResult(
        "forget",
        {
            "extraction_strength": metric("extraction_strength", remembers, remembers),
            "exact_memorisation": metric("exact_memorisation", 0.5, 0.5),
            "paraphrase_probability": metric("paraphrase_probability", remembers, remembers),
            "truth_ratio": metric("truth_ratio", 1.0, 3.0),  # p' / (p' + p_w): 1/2 and 1/4
            "repetition": metric("repetition", 0.0, 1.0),
        },
        ("a", "b"),
        membership_scores=dict.fromkeys(SCORES, forget_losses),
    )
    holdout = SplitResult("holdout", {}, ("c", "d"), membership_scores=dict.fromkeys(SCORES, (2.0, 4.0)))
    retain = SplitResult("retain", {"probability": metric("probability", 0.5)}, ("e",))
    splits = {"forget": forget, "holdout": holdout, "retain": retain}
    return Results(name, splits, model_utility=model_utility(splits), membership_inference=membership_of(splits))


TARGET, RETAIN_MODEL = results("target", 0.9), results("retain", 0.0, (5.0, 5.0))
UNLEARNED = results("unlearned", 0.25)


def test_by_hand() -> None:
    """Memorisation: HM(3/4, 1/2, 3/4, 1 − 3/8) = 4 / (4/3 + 2 + 4/3 + 8/5). Privacy: of four pairs three have the
    forget row lower, of the retain model's none, so 1 − 3/4 each time. Utility: HM(1/2, 1/2), as the target's: 1."""
    found = aggregate(UNLEARNED, TARGET, RETAIN_MODEL)
    memorisation = 4 / (4 / 3 + 2 + 4 / 3 + 8 / 5)
    assert found.memorisation == pytest.approx(memorisation)
    assert found.privacy == pytest.approx(0.25)
    assert found.utility == pytest.approx(1.0)
    assert found.value == pytest.approx(3 / (1 / memorisation + 4 + 1))
    assert found.components["memorisation.truth_ratio"] == pytest.approx(5 / 8)
    assert found.components["privacy.zlib"] == pytest.approx(0.25)
    assert found.components["utility.fluency"] == pytest.approx(0.5)
    assert found.missing == ()


def test_worse_and_equal() -> None:
    """What remembers all of it is 0; the retain model is as private as itself; half of the target's utility halves."""
    assert aggregate(results("all", 1.0), TARGET, RETAIN_MODEL).value == 0.0
    assert aggregate(RETAIN_MODEL, TARGET, RETAIN_MODEL).privacy == 1.0
    splits = dict(UNLEARNED.splits)
    splits["retain"] = SplitResult("retain", {"probability": metric("probability", 0.25)}, ("e",))
    poorer = replace(UNLEARNED, splits=splits)
    assert aggregate(poorer, TARGET, RETAIN_MODEL).utility == pytest.approx((2 / (4 + 2)) / 0.5)


def test_the_interval_is_that_of_resampled_rows() -> None:
    """Memorisation alone varies here: 40 rows with extraction strengths of 0 or 0.8. An own bootstrap with another seed
    has nearly the same percentiles, and ours are the same each time."""
    rows = 40
    strengths = tuple(0.8 if i % 4 else 0.0 for i in range(rows))
    half = (0.5,) * rows
    splits = dict(UNLEARNED.splits)
    splits["forget"] = SplitResult(
        "forget",
        {
            "extraction_strength": metric("extraction_strength", *strengths),
            **{name: metric(name, *half) for name in ("exact_memorisation", "paraphrase_probability")},
            "truth_ratio": metric("truth_ratio", *(1.0,) * rows),
            "repetition": metric("repetition", *(0.0,) * rows),
        },
        tuple(map(str, range(rows))),
        membership_scores=dict.fromkeys(SCORES, (1.0,) * rows),
    )
    model = replace(UNLEARNED, splits=splits)
    found = aggregate(model, model, model)
    assert (found.privacy, found.utility) == (1.0, 1.0)
    chance = np.random.default_rng(5)
    values = []
    for _ in range(4000):
        strength = np.mean(chance.choice(strengths, rows))
        values.append(3 / (2 + (1 / (1 - strength) + 6) / 4))
    low, high = np.percentile(values, [0.5, 99.5])
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert found.low < found.value - 0.02 < found.value + 0.02 < found.high
    assert aggregate(model, model, model) == found


def test_what_is_missing_is_said_and_not_made_up() -> None:
    splits = dict(UNLEARNED.splits)
    del splits["holdout"]
    without_holdout = aggregate(replace(UNLEARNED, splits=splits), TARGET, RETAIN_MODEL)
    assert without_holdout.missing == ("held-out rows (prepare with --holdout)",)
    assert (without_holdout.value, without_holdout.low, without_holdout.privacy) == (None, None, None)
    assert without_holdout.memorisation is not None
    assert without_holdout.utility == pytest.approx(1.0)
    assert aggregate(UNLEARNED, TARGET, None).missing == (RETAIN_MISSING,)
    assert aggregate(UNLEARNED, None, RETAIN_MODEL).missing == ("the target scored on the same rows",)
    other_rows = replace(RETAIN_MODEL, splits=RETAIN_MODEL.splits | {"holdout": SplitResult("holdout", {}, ("x", "y"))})
    assert aggregate(UNLEARNED, TARGET, other_rows).missing == (RETAIN_MISSING,)
    forget = UNLEARNED.splits["forget"]
    metrics = {name: m for name, m in forget.metrics.items() if name not in ("paraphrase_probability", "repetition")}
    poor = replace(UNLEARNED, splits=UNLEARNED.splits | {"forget": replace(forget, metrics=metrics)})
    assert aggregate(poor, TARGET, RETAIN_MODEL).missing == (
        "paraphrased answers of forget rows",
        "generated answers to forget rows, for fluency",
    )


def test_a_target_that_is_of_no_use_is_no_measure() -> None:
    splits = dict(TARGET.splits)
    splits["retain"] = SplitResult("retain", {"probability": metric("probability", 0.0)}, ("e",))
    useless = replace(TARGET, splits=splits)
    assert aggregate(UNLEARNED, useless, RETAIN_MODEL).missing == ("a target with a utility above 0",)


def test_results_of_models_have_it_and_come_back(tmp_path: Path) -> None:
    """From the models themselves: target, retain model and another, with held-out rows; then from JSON."""
    tokenizer = tiny_tokenizer()
    splits = {"forget": EXAMPLES[:2], "retain": EXAMPLES[4:], "holdout": EXAMPLES[2:4]}
    models = {
        name: evaluate_model(
            tiny_llama(len(tokenizer), seed), tokenizer, splits, EvaluateOptions(batch_size=4, max_new_tokens=8)
        )
        for seed, name in enumerate(("target", RETAIN, "unlearned"))
    }
    models = with_aggregates(models)
    combined = models["unlearned"].aggregate
    assert combined is not None
    assert combined.missing == ()
    inference = models["unlearned"].membership_inference
    reference = models[RETAIN].membership_inference
    assert inference is not None
    assert reference is not None
    assert combined.components["privacy.zlib"] == pytest.approx(
        1 - abs(inference.parts["zlib"] - reference.parts["zlib"])
    )
    run = RunResults(models)
    run.write(tmp_path / "results.json")
    assert RunResults.read(tmp_path / "results.json").models == models
    older = json.loads((tmp_path / "results.json").read_text())
    for model in older["models"].values():
        del model["aggregate"]
    (tmp_path / "older.json").write_text(json.dumps(older))
    assert RunResults.read(tmp_path / "older.json").models["target"].aggregate is None
    lacking = RunResults(with_aggregates({"target": models["target"]}))
    assert aggregate_line(lacking) == f"\nNo aggregate: it lacks {RETAIN_MISSING}."


def test_a_comparison_shows_it() -> None:
    figures = [{**aggregate(model, TARGET, RETAIN_MODEL).figures()} for model in (TARGET, RETAIN_MODEL, UNLEARNED)]
    rows = [Row(name, figures=values) for name, values in zip(("target", "retain model", "uld"), figures, strict=True)]
    shown = ComparisonResults(tuple(rows))
    assert has_aggregate(shown)
    assert f"uld {figures[2]['aggregate']:.3f} ({figures[2]['aggregate_low']:.3f}–" in caption(shown)
    assert f"| {figures[2]['aggregate']:.3f} |" in comparison_markdown(shown)
    drawing = aggregate_plot(shown)
    labels = [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    assert set(labels) == {"target", "retain model", "uld"}
    lacking = ComparisonResults((Row("target", figures={}),), {"aggregate_lacks": ["held-out rows"]})
    assert "No aggregate: it lacks held-out rows." in caption(lacking)
    assert not has_aggregate(lacking)
