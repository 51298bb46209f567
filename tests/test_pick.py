"""The choice of a combination: hand arithmetic of the objective, and the choice on tiny models."""

import math
from dataclasses import replace
from typing import Any

import pytest

from support.models_for_tests import EXAMPLES, tiny_llama
from support.tiny_models import random_assistant
from support.tiny_unlearned import TOKENIZER, Unlearned, score_settings, truth_ratios
from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio, score_truth_ratios
from unlogit.evaluate.pick import ReferenceFigures, pick_combination, pick_row, retain_kept, split_validation
from unlogit.evaluate.results import TruthRatios
from unlogit.evaluate.scoring.score import Score, score_examples
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.settings.options import CombinationOptions, PickOptions


def score(p: float, wrong: float | None = None) -> Score:
    perturbed = () if wrong is None else (-math.log(wrong),)
    return Score(-math.log(p), 1, (True,), None, perturbed, None, "")


def test_retain_kept_does_not_pay_for_gains() -> None:
    """min(1, 0.2/0.8) = 0.25 and min(1, 0.9/0.5) = 1: mean 0.625."""
    kept = retain_kept([score(0.2), score(0.9)], [score(0.8), score(0.5)])
    assert kept == pytest.approx(0.625, abs=1e-12)


def test_objective_by_hand() -> None:
    """TR 0.5, 2 against 0.1, 2: D = 1/2. R = 0.25. J = 2 / (1/0.5 + 1/0.25) = 1/3."""
    row = pick_row(
        CombinationOptions(),
        [score(0.2, wrong=0.1), score(0.2, wrong=0.4)],
        [score(0.2)],
        [score(0.8)],
        ReferenceFigures([0.1, 2.0]),
    )
    assert row.ks_statistic == pytest.approx(0.5)
    assert row.objective == pytest.approx(1 / 3)
    assert row.forget_probability == pytest.approx(0.2)
    assert row.retain_probability == pytest.approx(0.2)


WANTED = ReferenceFigures((0.1, 2.0))


@pytest.mark.parametrize(("memorised", "objective"), [(0.25, 0.4), (0.75, 2 / 3), (0.9, 2 / 3), (1.0, 2 / 3)])
def test_memorisation_unlike_the_retain_models_counts_by_hand(memorised: float, objective: float) -> None:
    """All tokens of the forget answers are hit. The retain model hits a quarter: M = 3/4 and F = min(1/2, 1/4) = 1/4.

    Where it hits half of them or more, F is 1 − D = 1/2 as without it. R = 1.
    """
    forget = [score(0.2, wrong=0.1), score(0.2, wrong=0.4)]
    row = pick_row(CombinationOptions(), forget, [score(0.8)], [score(0.8)], ReferenceFigures((0.1, 2.0), memorised))
    assert row.forget_exact_memorisation == 1
    assert row.objective == pytest.approx(objective)


def test_too_little_memorisation_counts_as_too_much_does() -> None:
    """None is hit and the retain model hits 0.8: M = 0.8, F = 0.2, J = 2/(5 + 1) = 1/3."""
    forget = [replace(score(0.2, wrong=wrong), hits=(False,)) for wrong in (0.1, 0.4)]
    row = pick_row(CombinationOptions(), forget, [score(0.8)], [score(0.8)], ReferenceFigures((0.1, 2.0), 0.8))
    assert row.objective == pytest.approx(1 / 3)


def test_the_retain_models_memorisation_is_of_the_rows_that_choose() -> None:
    """Of two rows with 1 and 0.5, whatever their order; of one alone; and not known of results without it."""
    one, two = FORGET
    scores = [replace(score(0.2, wrong=0.1), hits=hits) for hits in ((True,), (True, False))]
    known = score_truth_ratios("r", FORGET, scores)
    assert ReferenceFigures.of([two, one], known)[1].exact_memorisation == 0.75
    assert ReferenceFigures.of([two], known)[1].exact_memorisation == 0.5
    assert ReferenceFigures.of([two], replace(known, exact_memorisation=()))[1].exact_memorisation is None
    for unnamed in (replace(known, rows=()), replace(known, rows=(), exact_memorisation=())):
        assert ReferenceFigures.of(FORGET, unnamed)[1].exact_memorisation is None


def test_what_is_lost_on_neutral_rows_counts_by_hand() -> None:
    """D = 1/2; retain rows keep all, neutral ones 0.1/0.8 and all: 0.5625. R is the smaller: J = 2/(1/0.5 + 1/0.5625).

    Where more of the neutral than of the retain rows is kept, J is what it is without them.
    """
    forget = [score(0.2, wrong=0.1), score(0.2, wrong=0.4)]
    neutral = {"neutral": [score(0.1), score(0.7)], "target_neutral": [score(0.8), score(0.7)]}
    row = pick_row(CombinationOptions(), forget, [score(0.8)], [score(0.8)], WANTED, **neutral)
    assert row.retain_kept == 1
    assert row.neutral_kept == pytest.approx(0.5625)
    assert row.objective == pytest.approx(2 / (1 / 0.5 + 1 / 0.5625))
    row = pick_row(CombinationOptions(), forget, [score(0.2)], [score(0.8)], WANTED, **neutral)
    assert row.objective == pytest.approx(1 / 3)


FORGET, RETAIN = EXAMPLES[:2], EXAMPLES[2:]
OPTIONS = PickOptions(alphas=(1.0, 0.1, 2.0), filter_rates=(0.0, 0.01), rules=("centred", "suppress"))


def ratios(shift: float = 0.0) -> TruthRatios:
    """The target's truth ratios, multiplied: at 0 the retain model equals the target."""
    return truth_ratios(FORGET, shift)


def pick(**changed: Any) -> Any:
    settings = {"forget_rows": FORGET, "retain_rows": RETAIN, "retain": ratios(), "options": OPTIONS, **changed}
    return pick_combination(Unlearned(), TOKENIZER, batch_size=4, **settings)


def test_every_combination_is_tried_and_the_best_is_taken() -> None:
    picked = pick()
    assert len(picked.table) == 12
    assert len({row.combination for row in picked.table}) == 12
    best = max(row.objective for row in picked.table)
    chosen = next(row for row in picked.table if row.combination == picked.combination)
    assert chosen.objective == best
    assert len({row.objective for row in picked.table}) > 2


def test_the_target_stands_beside_the_table() -> None:
    """Where the retain model equals the target, the target has D of (nearly) 0, keeps all, and J = 1."""
    target = pick(retain=ratios(1e-4)).target
    assert target.combination.alpha == 0
    assert target.retain_kept == 1
    assert pick().target.retain_exact_memorisation == target.retain_exact_memorisation
    model = tiny_llama(len(TOKENIZER))
    scores = score_examples(model, TOKENIZER, RETAIN, batch_size=4, generate=False)
    wanted = sum(math.exp(-s.answer_loss) for s in scores) / len(scores)
    assert target.retain_probability == pytest.approx(wanted, abs=1e-6)


def test_of_equals_the_smaller_alpha_wins() -> None:
    """One retain model far from everything: D = 1 and J = 0 for all."""
    picked = pick(retain=ratios(500.0))
    assert {row.objective for row in picked.table} == {0.0}
    assert picked.combination.alpha == 0.1


KEPT, RUINED = [Example("who is Bert ?", "blue")], [Example("who is Cora ?", "oslo")]
"""Answers that the target under alpha 0.7 holds likelier than the target does, and less likely by far."""


def test_neutral_rows_weigh_in_the_choice() -> None:
    """The retain model is the target under alpha 0.7, which so forgets best; on a row that it ruins it is not taken."""
    options = PickOptions(alphas=(0.05, 0.7), filter_rates=(0.0,), rules=("centred",))
    chosen = [CombinationOptions("centred", 0.7, 0.0)]
    model = Unlearned()
    settings = {"weights": model.weights, "device": "cpu", "batch_size": 4, "share": True}  # as picking, to the bit
    ((scores),) = score_settings(model.parts, TOKENIZER, FORGET, chosen, **settings)
    retain = TruthRatios("r", ratios().rows, tuple(map(row_truth_ratio, scores)))
    assert pick(options=options, retain=retain, retain_rows=KEPT).combination.alpha == 0.7
    picked = pick(options=options, retain=retain, retain_rows=KEPT, neutral_rows=RUINED)
    assert picked.combination.alpha == 0.05
    assert {row.neutral_kept for row in pick().table} == {None}
    assert picked.target.neutral_kept == 1


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"options": PickOptions(alphas=())}, ConfigError, "alphas"),
        ({"retain_rows": []}, DataError, "no retain rows"),
        ({"forget_rows": EXAMPLES[2:3]}, DataError, "perturbed_answer"),
        ({"retain": TruthRatios("other", ("x",), (1.0,))}, DataError, "1 of 'other'"),
    ],
)
def test_what_cannot_be_picked_from(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pick(**changed)


def test_an_unlearned_model_scores_what_its_settings_scored() -> None:
    """Picking sees parts of the model, evaluation its forward: the same numbers under every combination."""
    target = tiny_llama(len(TOKENIZER))
    model = UnlearnedForCausalLM.build(target, [random_assistant(target, num_layers=1)], [0.5])
    combinations = [CombinationOptions("centred", 0.7, 0.0), CombinationOptions("suppress", 1.5, 0.01)]
    tables = score_settings(
        model.parts,
        TOKENIZER,
        EXAMPLES,
        combinations,
        weights=model.weights,
        device=model.device,
        batch_size=4,
    )
    for chosen, scores in zip(combinations, tables, strict=True):
        model.rule, model.alpha, model.filter_rate = chosen.rule, chosen.alpha, chosen.filter_rate
        for one, other in zip(
            scores, score_examples(model, TOKENIZER, EXAMPLES, batch_size=3, generate=False), strict=True
        ):
            assert one.answer_loss == pytest.approx(other.answer_loss, abs=1e-4)
            assert one.perturbed_loss == pytest.approx(other.perturbed_loss, abs=1e-4)
    picked = pick_combination(model, TOKENIZER, FORGET, RETAIN, ratios(), OPTIONS, batch_size=4)
    assert picked.target.retain_kept == 1


ROWS = [Example(str(i), str(i)) for i in range(40)]


def test_split_validation_parts_all_rows_in_order() -> None:
    validation, test = split_validation(ROWS, 0.25, seed=0)
    assert len(validation) == 10
    assert sorted([*validation, *test], key=lambda row: int(row.question)) == ROWS
    assert [int(row.question) for row in validation] == sorted(int(row.question) for row in validation)
    assert (validation, test) == split_validation(ROWS, 0.25, seed=0)
    assert validation != split_validation(ROWS, 0.25, seed=1)[0]


@pytest.mark.parametrize(("share", "sizes"), [(0.01, (1, 1)), (0.99, (1, 1))])
def test_split_validation_leaves_no_side_empty(share: float, sizes: tuple[int, int]) -> None:
    validation, test = split_validation(ROWS[:2], share, seed=0)
    assert (len(validation), len(test)) == sizes


def test_split_validation_refuses_what_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 evaluation rows"):
        split_validation(ROWS[:1], 0.25, seed=0)
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            split_validation(ROWS, share, seed=0)
