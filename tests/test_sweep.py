"""The sweep: each row against one evaluation by hand, what picks and what does not, the front, and the command."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp

from support.models_for_tests import EXAMPLES
from support.tiny_unlearned import TOKENIZER, Unlearned, truth_ratios
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.results import TruthRatios
from unlogit.evaluate.sweep import Sweep, figures, pareto_front, sweep_combinations, sweep_grid
from unlogit.model.logit_difference import combine_logits
from unlogit.runs.sweep import memorisation_warning
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
