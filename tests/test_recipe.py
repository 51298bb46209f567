"""The table of objectives: what each trains, on which rows, with which settings, and what it refuses."""

from typing import Any

import pytest

from unlogit.errors import ConfigError
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES
from unlogit.runs.checks import check_train
from unlogit.settings.objective_options import SimNpoOptions
from unlogit.settings.options import TrainOptions
from unlogit.training.recipe import OBJECTIVES, combines, recipes_of


def filled(objective: str, adapter: str, parameters: int, **given: Any) -> tuple[TrainOptions, str]:
    return recipes_of(objective)[0].filled(TrainOptions(objective=objective, **given), adapter, parameters)


def test_defaults_by_size() -> None:
    small, note = filled("uld", "lora", 10**8)
    assert (small.learning_rate, small.retain_weight, small.epochs) == (2e-3, 1.0, 10.0)
    assert "below a billion" in note
    large, note = filled("uld", "lora", 7 * 10**9)
    assert (large.learning_rate, large.retain_weight, large.epochs) == (1e-3, 6.5, 10.0)
    assert "paper" in note
    kept, note = filled("uld", "lora", 1, learning_rate=1.0, retain_weight=2.0, epochs=3.0)
    assert (kept.learning_rate, kept.retain_weight, kept.epochs) == (1.0, 2.0, 3.0)
    assert note == "All training settings were given."


def test_defaults_of_full_model_unlearning() -> None:
    """1e-5 as in the papers, ten times that below a billion parameters, ten times that for LoRA."""
    options, note = filled("npo_kl", "full", 10**6)
    assert (options.learning_rate, options.epochs, options.retain_weight, options.beta) == (1e-4, 5.0, 1.0, 0.1)
    assert "below a billion" in note
    assert filled("npo_kl", "full", 7 * 10**9)[0].learning_rate == 1e-5
    assert filled("offset_npo_kl", "lora", 10**6)[0].learning_rate == pytest.approx(1e-3)
    assert filled("npo_kl", "full", 10**6, epochs=2)[0].epochs == 2
    with pytest.raises(ConfigError, match=r"beta is 0; expected more than 0 .*npo's own"):
        check_train(TrainOptions(objective="npo", beta=0.0))


def test_numbers_of_the_paper_unless_given() -> None:
    recipe = recipes_of("simnpo")[0]
    assert recipe.own_options(TrainOptions(objective="simnpo")) == SimNpoOptions()
    options = TrainOptions(objective="simnpo", beta=2.0, forget_weight=0.0)
    assert recipe.own_options(options) == SimNpoOptions(beta=2.0, forget_weight=0.0)


def test_adapters_have_names_of_their_own() -> None:
    for recipes in OBJECTIVES.values():
        assert recipes[0].name == "assistant"
        assert len({recipe.name for recipe in recipes}) == len(recipes)


def test_sides_of_each_branch() -> None:
    """The first branch of dual_uld remembers near rows with the forget rows, the second them alone, and is uniform on
    the forget rows; divergence is uniform nowhere."""
    first, second = OBJECTIVES["dual_uld"]
    uniform = ("retain", "perturbed", "neutral")
    assert [(side.name, side.pools) for side in first.sides] == [("forget", ("forget", "near")), ("uniform", uniform)]
    assert [(side.name, side.pools) for side in second.sides] == [
        ("forget", ("near",)),
        ("uniform", ("forget", *uniform)),
    ]
    assert (first.weights, second.weights) == ((1.0,), (-1.0,))
    with_, without = OBJECTIVES["divergence"]
    assert [side.pools for side in with_.sides] == [("forget", "retain")]
    assert [side.pools for side in without.sides] == [("retain",)]
    assert (with_.weights, without.weights) == ((1.0,), (-1.0,))


def test_names_have_kinds() -> None:
    assert combines("uld")
    assert combines("divergence")
    assert combines("offset_npo_kl")
    assert not combines("npo_kl")
    for name, objective in (WEIGHT_OBJECTIVES | OFFSET_OBJECTIVES).items():
        (recipe,) = recipes_of(name)
        assert recipe.needs == objective.needs
        assert recipe.sides[0].with_questions == objective.with_questions
        assert ("retain" in {side.name for side in recipe.sides}) == ("retain" in objective.needs)
    with pytest.raises(ConfigError, match="did you mean 'uld'"):
        recipes_of("ulb")


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="did you mean 'uld'"):
        check_train(TrainOptions(objective="ulb"))
    with pytest.raises(ConfigError, match=r"learning_rate is -1.*neutral_fraction is 1.5"):
        check_train(TrainOptions(learning_rate=-1.0, neutral_fraction=1.5))
    with pytest.raises(ConfigError, match=r"max_grad_norm is nan.*retain_weight is -1"):
        check_train(TrainOptions(retain_weight=-1.0, max_grad_norm=float("nan")))
    with pytest.raises(ConfigError, match=r"max_tokens is -5.*seed is -1"):
        check_train(TrainOptions(max_tokens=-5, seed=-1))
    with pytest.raises(ConfigError, match="uniform_ratio is 0"):
        check_train(TrainOptions(uniform_ratio=0.0))


@pytest.mark.parametrize(
    ("name", "value", "at_home"),
    [
        ("uniform_ratio", 3.0, "uld"),
        ("stop_uniform_kl", 0.1, "uld"),
        ("common_fraction", 0.01, "uld"),
        ("perturbed_fraction", 0.1, "uld"),
        ("near_fraction", 0.1, "dual_uld"),
        ("beta", 0.3, "npo_kl"),
        ("gamma", 0.3, "undial"),
        ("retain_weight", 0.3, "npo_kl"),
    ],
)
@pytest.mark.parametrize("objective", ["divergence", "ga"])
def test_options_of_one_objective_are_refused_by_others(name: str, value: float, at_home: str, objective: str) -> None:
    check_train(TrainOptions(objective=at_home, **{name: value}))
    with pytest.raises(ConfigError, match=f"{name} is {value} and the objective {objective} has no such option"):
        check_train(TrainOptions(objective=objective, **{name: value}))
