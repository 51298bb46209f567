"""What a training needs, found out from its rows: steps that succeed in place of passes.

``unlogit forget`` plans all of a run so, ``prepare`` and ``run`` its training. What the user or a config file sets
stays.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.sources import check_sources, read_prepared, source_in
from unlogit.data.wordings import forget_training_rows, sections
from unlogit.model.loading import load_tokenizer
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import CombinationOptions, LoopOptions, RunConfig, TrainOptions
from unlogit.strength.choose import ALPHA
from unlogit.training.recipe import recipes_of

PERTURBATIONS = 8
"""Of a row's ghosts, so many answers are wrong answers to the row itself, with its own names."""
UNIFORM_ROWS = 24
"""Rows of the uniform side in a step, at least."""
MAX_STEPS = 300
"""Steps after which a small request is given up; larger ones have ``PASSES``."""
PASSES = 20.0
MAX_MINUTES = 120.0
"""Minutes of training after which a request is given up."""
LEARNT_NATS = 0.1
UNIFORM_NATS = 0.02
"""A training has succeeded when its forget term, and its KL from uniform on rows it never saw, are at most these."""
LIFT_WEIGHT = 0.05
"""Where rows to keep are given. Ghosts' answers have much of the forgotten ones, and the term would hold that down."""
PLANNED_COMMON_FRACTION = 0.03
"""A word in this share of the retain answers is not remembered, and is no secret."""


def planned(config: RunConfig, forget: Sequence[Example], given: Mapping[str, Any], ghosts: bool = True) -> RunConfig:
    """Return the settings for a request of these rows; what was ``given``, by section and key, stays.

    The training is planned of objectives that have an assistant with a uniform side, as far as they have the options.
    With ``ghosts`` the rows of the other sides are planned, too.
    """
    rows = len(forget_training_rows(list(forget), config.data.paraphrases, config.data.cross_paraphrases))
    rows += len(sections(forget)) if ghosts else 0
    plan = {
        "data": {"evaluation_rows": 60, "perturbations": PERTURBATIONS} if ghosts else {},
        "train": _training_plan(config, rows, "batch_size" in given.get("train", {})),
    }
    if _has_planned_strength(config.train.objective):
        plan["combination"] = {"alpha": ALPHA}
    for section, values in plan.items():
        changes = {k: v for k, v in values.items() if k not in given.get(section, {})}
        config = replace(config, **{section: replace(getattr(config, section), **changes)})
    return config


def _has_planned_strength(objective: str) -> bool:
    """Whether what is combined is one assistant with a uniform side, and nothing beside it."""
    first, *others_after = recipes_of(objective)
    return not others_after and first.trains.remembers and len(first.sides) > 1


def _training_plan(config: RunConfig, rows: int, batch_is_given: bool) -> dict[str, Any]:
    """Return what of the training's settings follows from its rows; ``rows`` are forget rows with their wordings."""
    train = config.train
    recipe = recipes_of(train.objective)[0]
    if not recipe.trains.remembers or len(recipe.sides) < 2:
        return {}
    batch = max(1, train.batch_size if batch_is_given else min(TrainOptions.batch_size, rows))
    plan: dict[str, Any] = {
        "batch_size": train.batch_size if batch_is_given else batch,
        "uniform_ratio": max(1.0, UNIFORM_ROWS / batch),
        "common_fraction": PLANNED_COMMON_FRACTION,
        "epochs": max(PASSES, float(math.ceil(MAX_STEPS / max(1, math.ceil(rows / batch))))),
        "minutes": MAX_MINUTES,
    }
    forget = config.data.forget
    if config.data.retain or (forget and source_in(forget, config.data).default_retain()):
        plan["lift_weight"] = LIFT_WEIGHT
    if config.data.holdout_fraction:  # it is measured on rows that are held out
        plan |= {"stop_uniform_kl": UNIFORM_NATS, "stop_forget_nats": LEARNT_NATS}
    allowed = {field.name for options in (recipe.options, LoopOptions) for field in fields(options)} | {"minutes"}
    return {name: value for name, value in plan.items() if name in allowed}


def plan_run(config: RunConfig, given: Mapping[str, Any]) -> tuple[RunConfig, str]:
    """Return a run's settings with its training planned from the rows that it forgets, and a line that says what of it.

    Raises:
        ConfigError, DataError, ModelError: the rows cannot be read, or the target has no tokenizer.
    """
    if not config.data.forget:
        return config, ""
    check_sources(config.data.forget, config.data.retain, config.data.neutral)  # before anything slow
    source = source_in(config.data.forget, config.data, load_tokenizer(config.target))
    plan = planned(config, source.forget_rows(config.data).training, given, ghosts=False)
    return plan, plan_line(config, plan)


def for_its_objective(folder: RunFolder, config: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """Return settings for another objective than a run was planned for; what was not planned stays.

    Args:
        folder: a prepared run.
        config: its settings, with what is given now.
        given: settings of training that are given now; they stay, too.
    """
    forget, recorded = folder.data / "forget.jsonl", folder.read_config()
    if recorded.train.objective == config.train.objective or not forget.is_file():
        return config
    rows = len(read_prepared(forget))
    earlier = _training_plan(recorded, rows, batch_is_given=True)
    if earlier.get("epochs") != recorded.train.epochs:
        return config  # the user set the passes, and the rest is to be taken with them
    planned_names = [name for name, value in earlier.items() if getattr(recorded.train, name) == value]
    values = {name: getattr(TrainOptions(), name) for name in planned_names} | _training_plan(config, rows, False)
    changes = {name: values[name] for name in planned_names if name not in given}
    combination = config.combination
    if combination.alpha == ALPHA and not _has_planned_strength(config.train.objective):
        combination = replace(combination, alpha=CombinationOptions.alpha)
    return replace(config, train=replace(config.train, **changes), combination=combination)


def plan_line(before: RunConfig, after: RunConfig) -> str:
    """Return what of the settings of training and combination was planned; nothing where nothing was."""
    defaults = asdict(before.train) | asdict(before.combination)
    values = asdict(after.train) | asdict(after.combination)
    changes = [f"{name} {value:g}" for name, value in values.items() if value != defaults[name]]
    return f"Planned from the rows to forget, for what was not given: {', '.join(changes)}." if changes else ""
