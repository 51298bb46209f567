"""Preparing a run folder: the rows of every side, and the settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.prepare import check_replaceable, prepare
from unlogit.data.sources import check_sources
from unlogit.data.written import NOTHING_WRITTEN, Written
from unlogit.errors import ConfigError
from unlogit.model.loading import load_tokenizer
from unlogit.runs.checks import check_run
from unlogit.runs.digests import record_prepared
from unlogit.runs.folder import RunFolder
from unlogit.runs.lock import in_sole_use
from unlogit.settings.options import RunConfig


@in_sole_use
def prepare_run(
    config: RunConfig, *, overwrite: bool = False, ghosts: Sequence[Example] = (), written: Written = NOTHING_WRITTEN
) -> dict[str, Any]:
    """Write ``data/`` and ``config.yaml`` of a run, and return the summary of its rows (see ``data.prepare``).

    ``ghosts`` are the target's answers about strangers, see ``runs.ghosts``; ``written`` what a writer adds, see
    ``runs.writing``.

    Raises:
        ConfigError: a setting is wrong, there are rows of an earlier run or a config.yaml without them and
            ``overwrite`` is False, or the folder of rows holds files that are not ours.
        DataError: rows cannot be read or used.
        ModelError: the target or its tokenizer cannot be used.
    """

    folder = RunFolder(Path(config.output))
    if folder.prepared and not overwrite:
        raise ConfigError(
            f"{folder.data} holds the rows of an earlier run; expected a new folder: choose another output, give "
            "--overwrite to begin anew, or let `unlogit run` go on from there with --resume"
        )
    if folder.config.is_file() and not folder.prepared and not overwrite:
        raise ConfigError(
            f"{folder.config} is there already, without the rows of a run, and the run's settings would take its "
            "place; expected a new folder: choose another output, or give --overwrite"
        )
    check_replaceable(folder.data)
    data = config.data
    check_sources(data.forget, data.retain, data.neutral, data.holdout, data.retain_holdout, data.general)
    check_run(config)
    tokenizer = load_tokenizer(config.target)
    existed = folder.path.exists()
    try:
        summary = prepare(config, tokenizer, lambda: folder.write_config(config), ghosts, written)
    except BaseException:
        if not existed and folder.path.is_dir() and not any(folder.path.iterdir()):
            folder.path.rmdir()
        raise
    record_prepared(folder, config)
    return summary
