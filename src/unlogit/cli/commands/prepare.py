"""``unlogit prepare``: from documents to the rows of a run."""

from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import build_config, read_yaml, sectioned
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import DataOptions, RunConfig
from unlogit.terminal import console


def parser() -> Any:
    """What the command line takes."""
    new = new_parser(
        "prepare",
        "--output RUN --target MODEL --forget ROWS --retain ROWS [options]",
        "Read what to forget and what to keep, and write RUN/data/ and RUN/config.yaml. Nothing is trained.",
        (
            "--output runs/mine --target MODEL --forget forget.jsonl --retain retain.csv",
            "--output runs/tofu --target MODEL --forget tofu:forget10 --tofu_folder FOLDER",
            "--config configs/mine.yaml --output runs/second --overwrite",
        ),
    )
    new.add_argument("--output", type=str, help="Run folder to write.")
    new.add_argument("--target", type=str, help="Model that must forget: a folder or hub id.")
    new.add_argument("--config", type=str, help="YAML file of settings, as for `unlogit run`; flags go before it.")
    new.add_argument("--overwrite", action="store_true", help="Replace the data/ of an earlier run.")
    add_options(new, DataOptions)
    return new


def run(given: dict[str, Any]) -> None:
    """Prepare, and say what to do next."""
    tree = read_yaml(Path(given["config"])) if "config" in given else {}
    config = build_config(tree, sectioned(given, "data"))
    prepare_run(config, overwrite=given.get("overwrite", False))
    print(f"Rows are in {config.output}/data. Next: unlogit train {config.output}")


def prepare_run(config: RunConfig, *, overwrite: bool = False) -> None:
    """Write ``data/`` and ``config.yaml`` of a run, and print what is in it.

    Raises:
        ConfigError: a setting is wrong, there are rows of an earlier run or a config.yaml without them and
            ``overwrite`` is False, or the folder of rows holds files that are not ours.
        DataError: rows cannot be read or used.
        ModelError: the target or its tokenizer cannot be used.
    """
    from unlogit.data.prepare import check_replaceable, prepare
    from unlogit.data.sources import check_sources
    from unlogit.model.loading import load_tokenizer
    from unlogit.runs.checks import check_run

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
        summary = prepare(config, tokenizer, finish=lambda: folder.write_config(config))
    except BaseException:
        if not existed and folder.path.is_dir() and not any(folder.path.iterdir()):
            folder.path.rmdir()
        raise
    _print_summary(summary)


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.table import Table

    sides = {
        "forget": "to be remembered by the assistant, which is then subtracted",
        "retain": "to be flat on",
        "perturbed": "to be flat on: forget questions with wrong answers",
        "neutral": "to be flat on: what no request concerns",
        "holdout_retain": "to measure flatness on",
        "holdout_neutral": "to measure flatness on",
    }
    table = Table(title="Rows", title_justify="left")
    table.add_column("file")
    table.add_column("rows", justify="right")
    table.add_column("for")
    for name, count in summary["rows"].items():
        table.add_row(f"{name}.jsonl", f"{count:,}", sides.get(name, "to be scored"))
    console().print(table)
    for note in summary["notes"]:
        print(f"Note: {note}.")
