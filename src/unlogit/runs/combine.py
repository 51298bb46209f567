"""Storing how an unlearned model combines, in ``RUN/unlearned/config.json`` alone: rule, strength, requests."""

import math
import shutil
from collections.abc import Sequence
from typing import Any

from unlogit.errors import ConfigError
from unlogit.evaluate.results import read_json
from unlogit.files import write_json
from unlogit.model.assistant_config import check_fingerprint, load_config
from unlogit.model.loading import load_target, model_place
from unlogit.model.recorded_target import absolute_name
from unlogit.model.requests import DEFAULTS, Branch, strengths_of, with_strength, without_request
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import CombinationOptions, RunConfig
from unlogit.training.recipe import combines


def combine_run(folder: RunFolder, combination: CombinationOptions, target: str = "") -> CombinationOptions:
    """Let the unlearned model of a run combine so from now on; return how it did before.

    Args:
        folder: a run with an unlearned model.
        combination: rule, alpha and filter_rate.
        target: where its target is now; empty where it has not moved.

    Raises:
        ConfigError: a value means nothing, or nothing is combined in this run.
        ModelError: there is no unlearned model, or ``target`` is another model than the assistant was trained on.
    """
    model_place(str(folder.path))
    previous = folder.combination()
    if combination != previous:
        check_combines(folder, folder.read_config(), "rule, alpha or filter_rate")
    moved = _moved_target(folder, target) if target else ""  # before anything is written
    if combination != previous:
        folder.write_combination(combination)
    if moved:
        folder.move_target(moved)
    return previous


def request_strengths(folder: RunFolder) -> dict[str, float]:
    """Return the strength of each request of an unlearned model by its name, in order."""
    branches = read_json(folder.unlearned / "config.json")["branches"]
    return strengths_of([DEFAULTS | branch for branch in branches])


def own_request(folder: RunFolder) -> str:
    """Return the name of the request that a run added to those of its earlier model.

    Raises:
        ConfigError: it was taken away.
    """
    earlier = folder.earlier / "config.json"
    branches = read_json(earlier)["branches"] if earlier.is_file() else []
    names = strengths_of([DEFAULTS | branch for branch in branches])
    if not (added := [name for name in request_strengths(folder) if name not in names]):
        raise ConfigError(
            f"the request of {folder.path} was taken away from its model; expected it there, to be checked: make it "
            "again with --overwrite"
        )
    return added[-1]


def keep_strengths(folder: RunFolder, branches: Sequence[Branch]) -> list[dict[str, Any]]:
    """Return the branches of a model that is made anew, with the strengths of the one that stands in its place."""
    kept_branches = [dict(branch) for branch in branches]
    if (folder.unlearned / "config.json").is_file():
        names = strengths_of(branches)
        for name, strength in request_strengths(folder).items():
            kept_branches = with_strength(kept_branches, name, strength) if name in names else kept_branches
    return kept_branches


def change_requests(folder: RunFolder, remove: str = "", strength: str = "") -> dict[str, float]:
    """Take a request away or change its strength; return the strength of each that is left, by name.

    Args:
        folder: a run with an unlearned model.
        remove: name of a request; its assistant is removed from the unlearned model's folder.
        strength: ``NAME=NUMBER``; 1 is as trained, 0 forgets nothing.

    Raises:
        ConfigError: no such request, none would be left, or no such strength; or nothing is combined in this run.
        ModelError: there is no unlearned model.
    """
    model_place(str(folder.path))
    check_combines(folder, folder.read_config(), "remove or strength")
    path = folder.unlearned / "config.json"
    config = read_json(path)
    earlier = [DEFAULTS | branch for branch in config["branches"]]
    branches = earlier
    if strength:
        branches = with_strength(branches, *_name_and_strength(strength))
    if remove:
        branches = without_request(branches, remove)
    write_json(path, config | {"branches": branches})
    for name in {branch["folder"] for branch in earlier} - {branch["folder"] for branch in branches}:
        shutil.rmtree(folder.unlearned / name)
    return strengths_of(branches)


def _name_and_strength(text: str) -> tuple[str, float]:
    """Return the two sides of ``NAME=NUMBER``."""
    name, _, number = text.rpartition("=")
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not name or not 0 <= strength < math.inf:
        raise ConfigError(f"strength is {text!r}; expected NAME=NUMBER, a number from 0 on: give it as customer=0.5")
    return name, strength


def _moved_target(folder: RunFolder, target: str) -> str:
    """Return where the target is now; refused where that is another model than the assistant was trained on."""
    location = model_place(target)
    adapters = folder.adapters
    if adapters:
        check_fingerprint(load_config(adapters[0]), load_target(location))
    return absolute_name(location)


def check_combines(folder: RunFolder, config: RunConfig, *names: str) -> None:
    """Refuse to combine where a model of its own was trained.

    Raises:
        ConfigError: nothing is combined in this run.
    """
    if not combines(config.train.objective):
        raise ConfigError(
            f"{', '.join(names)} given, and {folder.path} was trained by {config.train.objective}, full-model "
            "unlearning: nothing is combined; leave it out"
        )
