"""What can be told of a run's settings before anything long: ranges, the assistant's depth, the retain model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from unlogit.data.encode import encode_answers
from unlogit.data.sources import read_prepared
from unlogit.errors import ConfigError, DataError
from unlogit.model.loading import check_ordinary, depth_of, model_place
from unlogit.settings.options import (
    AssistantOptions,
    CombinationOptions,
    EvaluateOptions,
    LoopOptions,
    PickOptions,
    RunConfig,
    TrainOptions,
)


def check_run(config: RunConfig) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: a setting is out of range; all that are of one section are said.
        DataError: the retain model's results are missing.
        ModelError: the target or the retain model is missing, or the target is an unlearned model.
    """
    from unlogit.training.recipe import recipes_of

    check_ordinary(config.target)
    check_assistant(config.assistant, config.target)
    check_train(config.train)
    check_evaluation(config.evaluate, config.pick)
    check_pick(config)
    adds = any(recipe.adds for recipe in recipes_of(config.train.objective))
    if adds and config.combination.rule == "rank":
        raise ConfigError("combination.rule is rank, which adds nothing, and a refusal is added; expected another rule")


def check_pick(config: RunConfig) -> None:
    """Refuse to choose a combination where nothing is combined."""
    from unlogit.training.recipe import combines

    if config.pick.enabled and not combines(config.train.objective):
        raise ConfigError(
            f"pick.enabled is true and {config.train.objective} is full-model unlearning: nothing is combined; "
            "expected an objective with branches, as uld: leave pick out"
        )


def check_assistant(options: AssistantOptions, target: str) -> None:
    """Refuse an assistant that has no blocks, or more than its target."""
    check_shape(options)
    depth = depth_of(target)
    if depth is not None and options.blocks(depth) > depth:
        raise ConfigError(
            f"num_layers is {options.num_layers:g} and the target {target!r} has {depth} layers; expected no more than "
            "the target has: lower num_layers, or give a share of the depth, as 0.25"
        )


def check_shape(options: AssistantOptions) -> None:
    """Refuse an assistant that cannot be on any target."""
    problems = []
    if options.rank < 1:
        problems.append(f"rank is {options.rank}; expected 1 or more")
    if not 0 < options.start_gain < math.inf:
        problems.append(f"start_gain is {options.start_gain}; expected more than 0 (1 starts as the early exit is)")
    layers = options.num_layers
    if layers <= 0 or (layers >= 1 and layers != int(layers)):
        problems.append(f"num_layers is {layers:g}; expected a whole number from 1, or a share of the depth below 1")
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")


def check_train(options: TrainOptions) -> None:
    """Refuse settings of training out of range, or an objective that there is not."""
    from unlogit.training.recipe import recipes_of
    from unlogit.training.trainer import pieces_of

    recipe = recipes_of(options.objective)[0]
    problems = _foreign_options(options, recipe)
    if "beta" in recipe.options.__dataclass_fields__ and options.beta == 0:
        problems.append(f"beta is 0; expected more than 0 (leave it out for {options.objective}'s own)")
    problems += loop_problems(options)
    problems += _out_of_range(
        options,
        above_zero=("uniform_ratio",),
        from_zero=(
            "retain_weight",
            "forget_weight",
            "beta",
            "gamma",
            "near_fraction",
            "lift_weight",
            "stop_uniform_kl",
            "stop_forget_nats",
            "minutes",
        ),
        fractions=("neutral_fraction", "common_fraction"),
    )
    left = 1 - options.neutral_fraction
    if options.perturbed_fraction is not None and not 0 <= options.perturbed_fraction < left:
        problems.append(
            f"perturbed_fraction is {options.perturbed_fraction}; expected at least 0 and below {left:g}, what "
            "neutral_fraction leaves"
        )
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")
    pieces_of(options)


def loop_problems(options: LoopOptions) -> list[str]:
    """Say which settings that every training has are out of range."""
    return _out_of_range(
        options,
        above_zero=("learning_rate", "epochs", "batch_size", "max_tokens", "save_steps", "logging_steps"),
        from_zero=("weight_decay", "max_grad_norm"),
        fractions=("warmup_ratio",),
    ) + seed_problems(options.seed)


def _out_of_range(
    options: LoopOptions, above_zero: Sequence[str], from_zero: Sequence[str], fractions: Sequence[str]
) -> list[str]:
    """Say which of these options are out of range; None stands for a default."""
    ranges: dict[str, tuple[Callable[[float], bool], str]] = {
        **dict.fromkeys(above_zero, (lambda value: 0 < value < math.inf, "more than 0")),
        **dict.fromkeys(from_zero, (lambda value: 0 <= value < math.inf, "a number from 0 on")),
        **dict.fromkeys(fractions, (lambda value: 0 <= value < 1, "at least 0 and below 1")),
    }
    return [
        f"{name} is {getattr(options, name)}; expected {range_}"
        for name, (fits, range_) in ranges.items()
        if getattr(options, name) is not None and not fits(getattr(options, name))
    ]


def _foreign_options(options: TrainOptions, recipe: Any) -> list[str]:
    """Say which options were set that belong to other objectives."""
    from unlogit.training.recipe import OBJECTIVES

    foreign = {field.name for recipes in OBJECTIVES.values() for field in fields(recipes[0].options)}
    own_options = [field.name for field in fields(recipe.options)]
    return [
        f"{name} is {getattr(options, name)} and the objective {options.objective} has no such option; expected "
        f"{', '.join(own_options) or 'none'}"
        for name in sorted(foreign - set(own_options))
        if getattr(options, name) != getattr(TrainOptions, name)
    ]


def seed_problems(seed: int) -> list[str]:
    """Say what is wrong with a seed; numpy takes no other."""
    return [] if 0 <= seed < 2**32 else [f"seed is {seed}; expected 0 to {2**32 - 1}"]


def check_evaluation(options: EvaluateOptions, pick: PickOptions) -> None:
    """Refuse counts out of range, a retain model that is not there, and a choice that cannot be made."""
    problems = [f"{n} is {getattr(options, n)}; expected 1 or more" for n in _POSITIVE if getattr(options, n) < 1]
    problems += [f"{n} is {getattr(options, n)}; expected 0 or more" for n in _COUNTS if getattr(options, n) < 0]
    if pick.enabled:
        if not 0 < pick.validation_fraction < 1:
            problems.append(
                f"pick.validation_fraction is {pick.validation_fraction}; expected a number between 0 and 1"
            )
        if not (pick.alphas and pick.filter_rates and pick.rules):
            problems.append("pick has no alphas, filter_rates or rules; expected at least one of each")
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")
    if pick.enabled:
        for alpha in pick.alphas:
            for filter_rate in pick.filter_rates:
                CombinationOptions(pick.rules[0], alpha, filter_rate)
    log = retain_log(options.retain_model) if options.retain_model else None
    if options.retain_model and log is None:
        model_place(options.retain_model)
    elif log is not None and not log.is_file():
        raise DataError(f"{log} does not exist; expected a retain model's results.json or log: check retain_model")
    if pick.enabled and options.protocol != "unlogit" and log is not None:
        raise ConfigError(
            f"pick.enabled is true with the protocol of {options.protocol!r} and a retain model's log; expected "
            "the retain model itself, since combinations are chosen by our own protocol and a log has one kind: "
            "give its folder or hub id, or leave pick out"
        )


def check_scored_lengths(folder: Path, target: Any, tokenizer: Any) -> None:
    """Refuse rows to score that have more tokens than a target with learned positions can read.

    Raises:
        DataError: some of ``folder``'s rows are longer.
    """
    from unlogit.model.positions import position_limit

    limit = position_limit(target)
    if limit is None:
        return
    for path in sorted(folder.glob("*.jsonl")):
        for number, row in enumerate(read_prepared(path), start=1):
            answers = (row.answer, *row.paraphrased_answer, *row.perturbed_answer)
            longest = max(len(encoded.input_ids) for encoded in encode_answers(row, tokenizer, answers))
            if longest > limit:
                raise DataError(
                    f"row {number} of {path} has {longest} tokens and the target {limit} positions; expected no more, "
                    "since it is scored whole: shorten it, or cut it in two"
                )


def retain_log(retain_model: str) -> Path | None:
    """Return the file of results that ``retain_model`` names, or None where it names a model."""
    path = Path(retain_model).expanduser()
    if path.suffix == ".json" or path.is_file():
        return path
    if path.is_dir() and not (path / "config.json").is_file():
        return next((path / name for name in ("results.json", "TOFU_EVAL.json") if (path / name).is_file()), None)
    return None


_POSITIVE = ("batch_size", "max_new_tokens")
_COUNTS = ("max_rows", "generate_rows", "samples", "path_rows")
