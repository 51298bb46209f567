"""The next request: what a run begins with where the model that must forget more has forgotten something already.

A second assistant is trained on the same target and stands beside the first in the run's ``unlearned/``. The earlier
model is copied into ``RUN/earlier`` first, so that the run needs the earlier one no more.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError
from unlogit.evaluate.results import read_json
from unlogit.files import atomic_folder
from unlogit.model.loading import is_combined, model_place
from unlogit.model.recorded_target import check_target_folder
from unlogit.model.requests import next_branches
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import CombinationOptions, RunConfig
from unlogit.training.recipe import recipes_of


def on_its_target(config: RunConfig, given: Mapping[str, Any], resume: bool) -> tuple[RunConfig, Path | None]:
    """Return the settings of a request, whose target is an ordinary model, and the earlier unlearned model if any.

    The combination is that of the earlier model, but for what was ``given``. Where ``resume`` and the earlier model is
    gone, the run's own copy takes its place.

    Raises:
        ConfigError: the earlier model stands in the folder that would be written.
        ModelError: there is no such model, or its target is gone.
    """
    copied = RunFolder(Path(config.output)).earlier
    use_copy = resume and not Path(config.target).exists() and (copied / "config.json").is_file()
    if not use_copy and not is_combined(config.target):
        return config, None
    earlier = copied if use_copy else Path(model_place(config.target))
    if not use_copy and Path(config.output).resolve() in earlier.resolve().parents:
        raise ConfigError(
            f"{config.output} holds the model that is to forget more; expected a new folder: choose another output"
        )
    stored = read_json(earlier / "config.json")
    check_target_folder(stored["target_name"], earlier)
    combination = {name: stored[name] for name in asdict(config.combination)} | dict(given.get("combination", {}))
    return replace(config, target=stored["target_name"], combination=CombinationOptions(**combination)), earlier


def keep_earlier(folder: RunFolder, earlier: Path | None, *, resume: bool) -> None:
    """Copy the earlier model into the run, or see to it that there is none; where ``resume``, what is there stays."""
    if resume and (earlier is None or (folder.earlier / "config.json").is_file()):
        return
    if earlier is None:
        shutil.rmtree(folder.earlier, ignore_errors=True)
        return
    with atomic_folder(folder.earlier) as temporary:
        shutil.copytree(earlier, temporary, dirs_exist_ok=True)


def load_earlier(folder: RunFolder, target: Any) -> Any:
    """Return the unlearned model that the run's request is added to, on its target; None where this is the first.

    Raises:
        ModelError: it is damaged, or belongs to another target.
    """
    from unlogit.model.unlearned import UnlearnedForCausalLM

    if not (folder.earlier / "config.json").is_file():
        return None
    return UnlearnedForCausalLM.from_pretrained(folder.earlier, target=target)


def added_to(
    earlier: Any, target: Any, assistants: Sequence[Any], weights: Sequence[float], config: RunConfig, name: str
) -> Any:
    """Return the target with the branches of an ``earlier`` model, if any, and those of a request of this name."""
    from unlogit.model.unlearned import UnlearnedForCausalLM

    branches = earlier.config.branches if earlier else []
    model = UnlearnedForCausalLM.build(
        target,
        [*(earlier.branches if earlier else []), *assistants],
        [*(branch["weight"] for branch in branches), *weights],
        config.combination,
    )
    additions = [recipe.adds for recipe in recipes_of(config.train.objective) for _ in recipe.weights]
    model.config.branches = next_branches(branches, model.config.branches, name, additions)
    return model
