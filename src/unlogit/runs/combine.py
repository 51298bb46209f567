"""Storing how an unlearned model combines: rule, alpha and filter_rate, in ``RUN/unlearned/config.json`` alone."""

from unlogit.errors import ConfigError
from unlogit.model.assistant_config import check_fingerprint, load_config
from unlogit.model.loading import load_target, model_place
from unlogit.model.recorded_target import absolute_name
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
