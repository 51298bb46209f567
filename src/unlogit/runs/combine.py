"""Storing how an unlearned model combines: rule, alpha and filter_rate, in ``RUN/unlearned/config.json`` alone."""

from unlogit.errors import ConfigError
from unlogit.model.loading import model_place
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
        ModelError: there is no unlearned model.
    """
    model_place(str(folder.path))
    check_combines(folder, folder.read_config(), "rule, alpha or filter_rate")
    previous = folder.combination()
    folder.write_combination(combination)
    if target:
        folder.move_target(absolute_name(model_place(target)))
    return previous


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
