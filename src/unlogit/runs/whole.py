"""The whole way of a run: prepare, train, evaluate, each as far as it is not done."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unlogit.runs.checks import check_run
from unlogit.runs.digests import check_sources_unchanged, check_trained
from unlogit.runs.evaluate_run import evaluate_run
from unlogit.runs.folder import RunFolder
from unlogit.runs.lock import in_sole_use
from unlogit.runs.prepare import prepare_run
from unlogit.runs.results import RunResults
from unlogit.runs.train import train_run
from unlogit.settings.options import RunConfig
from unlogit.training.recipe import combines

log = logging.getLogger(__name__)


@in_sole_use
def whole_run(config: RunConfig, show: Callable[[Any], None], *, resume: bool = False, overwrite: bool = False) -> None:
    """Prepare, train and evaluate a run.

    Args:
        config: all settings.
        show: called with what each step returns, as soon as it has ended.
        resume: skip the steps that are done, and go on with a training that was cut off.
        overwrite: begin anew although there is a run in the folder.

    Raises:
        ConfigError, DataError, ModelError: see the steps; or ``resume`` with other settings than a step was done with.
    """
    folder = RunFolder(Path(config.output))
    check_run(config)
    if resume and folder.prepared:
        folder.check_unchanged(config, "target", "data")
        check_sources_unchanged(folder, config)
        log.info(f"The rows are in {folder.data} already.")
    else:
        show(prepare_run(config, overwrite=overwrite))
        if overwrite:
            folder.set_training_aside()  # not of the new rows; now, so that --resume can go on after a cut
            folder.drop_aside()
    is_trained = folder.trained and folder.combined and not folder.training and not folder.raises_ceiling(config)
    if resume and is_trained:
        check_trained(folder, config)
        log.info(f"{folder.path} is trained already.")
    else:
        show(train_run(folder, config, resume=resume, overwrite=overwrite))
    if combines(config.train.objective) and folder.combination() != config.combination:
        folder.write_combination(config.combination)
        log.info(f"{folder.path} combines as its settings say from now on.")
    if resume and folder.results.is_file() and RunResults.read(folder.results).made_with(config):
        log.info(f"The results are in {folder.results} already.")
    else:
        folder.write_config(config)
        show(evaluate_run(folder, config))
