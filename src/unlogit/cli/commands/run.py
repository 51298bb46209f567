"""``unlogit run``: the whole way from one YAML file, prepare → train → evaluate."""

from pathlib import Path
from typing import Any

from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import SECTIONS, build_config, read_yaml, sectioned
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import RunConfig


def parser() -> Any:
    """What the command line takes."""
    new = new_parser(
        "run",
        "CONFIG [options]",
        "Prepare, train and evaluate with the settings of one YAML file. A flag --section.key goes before the file.",
        (
            "configs/mine.yaml",
            "configs/mine.yaml --output runs/second --train.epochs 5 --assistant.rank 16",
            "configs/mine.yaml --resume",
        ),
    )
    new.add_argument("config", metavar="CONFIG", type=str, help="YAML file: output, target and sections of settings.")
    new.add_argument("--resume", action="store_true", help="Skip what is done, go on with what was cut off.")
    new.add_argument("--overwrite", action="store_true", help="Begin anew in a run folder that is not empty.")
    new.add_argument("--output", type=str, help="Run folder to write.")
    new.add_argument("--target", type=str, help="Model that must forget: a folder or hub id.")
    for name, options in SECTIONS.items():
        add_options(new, options, name)
    return new


def run(given: dict[str, Any]) -> None:
    """Go the whole way."""
    flags = sectioned({name: value for name, value in given.items() if name != "config"})
    config = build_config(read_yaml(Path(given["config"])), flags)
    whole_run(config, resume=given.get("resume", False), overwrite=given.get("overwrite", False))


def whole_run(config: RunConfig, *, resume: bool = False, overwrite: bool = False) -> None:
    """Prepare, train and evaluate a run.

    Args:
        config: all settings.
        resume: skip the steps that are done, and go on with a training that was cut off.
        overwrite: begin anew although there is a run in the folder.

    Raises:
        ConfigError, DataError, ModelError: see the steps; or ``resume`` with other settings than a step was done with.
    """
    from unlogit.cli.commands.evaluate import evaluate_run
    from unlogit.cli.commands.prepare import prepare_run
    from unlogit.cli.commands.train import show_trained
    from unlogit.runs.checks import check_run
    from unlogit.runs.train import train_run

    folder = RunFolder(Path(config.output))
    check_run(config)
    if resume and folder.prepared:
        folder.check_unchanged(config, "target", "data")
        print(f"The rows are in {folder.data} already.")
    else:
        prepare_run(config, overwrite=overwrite)
        if overwrite:
            folder.set_training_aside()  # not of the new rows; now, so that --resume can go on after a cut
            folder.drop_aside()
    if resume and folder.trained and folder.combined and not folder.training:
        folder.check_training(config)
        print(f"{folder.path} is trained already.")
    else:
        show_trained(train_run(folder, config, resume=resume, overwrite=overwrite))
    if resume and _evaluated(folder, config):
        print(f"The results are in {folder.results} already.")
    else:
        evaluate_run(folder, config)


def _evaluated(folder: RunFolder, config: RunConfig) -> bool:
    """Whether there are results of this run with these settings."""
    from unlogit.runs.results import RunResults

    return folder.results.is_file() and RunResults.read(folder.results).made_with(config)
