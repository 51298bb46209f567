"""``unlogit prepare``: from documents to the rows of a run."""

from pathlib import Path
from typing import Any

from unlogit.settings.config_file import build_config, merged, read_yaml, sectioned
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import DataOptions


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "prepare",
        "--output RUN --target MODEL --forget ROWS --retain ROWS [options]",
        "Read what to forget and what to keep, and write RUN/data/ and RUN/config.yaml. Nothing is trained.",
        (
            "--output runs/mine --target MODEL --forget forget.jsonl --retain retain.csv",
            "--output runs/tofu --target MODEL --forget tofu:forget10 --tofu_folder FOLDER",
            "--config configs/mine.yaml --output runs/second --overwrite",
        ),
    )
    command.add_argument("--output", type=str, help="Run folder to write.")
    command.add_argument("--target", type=str, help="Model that must forget: a folder or hub id.")
    command.add_argument(
        "--config", type=str, help="YAML file of settings, as for `unlogit run`; flags take precedence over it."
    )
    command.add_argument("--overwrite", action="store_true", help="Replace the data/ of an earlier run.")
    command.add_argument(
        "--max_tokens",
        type=int,
        help="Longest row in tokens, which training keeps to: a question must leave room in it.",
    )
    add_options(command, DataOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Prepare, and say what to do next."""
    tree = read_yaml(Path(given["config"])) if "config" in given else {}
    flags = sectioned(given, "data", "train")
    config = build_config(tree, flags)
    from unlogit.runs.plan import plan_run
    from unlogit.runs.prepare import prepare_run

    config, plan = plan_run(config, merged(tree, flags))
    show_prepared(prepare_run(config, overwrite=given.get("overwrite", False)))
    if plan:
        print(plan)
    print(f"Rows are in {config.output}/data. Next: unlogit train {config.output}")


def show_prepared(summary: dict[str, Any]) -> None:
    """Print how many rows each file has, and what they are for."""
    from rich.table import Table

    from unlogit.report.print_table import print_table

    sides = {
        "forget": "remembered by the assistant, which is then subtracted",
        "retain": "uniform side: what the assistant must know nothing about",
        "perturbed": "uniform side: forget questions with wrong answers",
        "neutral": "uniform side: what no request concerns",
        "holdout_retain": "to measure how far from uniform the assistant is",
        "holdout_neutral": "to measure how far from uniform the assistant is",
    }
    table = Table(title="Rows", title_justify="left")
    table.add_column("file")
    table.add_column("rows", justify="right")
    table.add_column("for")
    for name, count in summary["rows"].items():
        table.add_row(f"{name}.jsonl", f"{count:,}", sides.get(name, "to be scored"))
    print_table(table)
    for note in summary["notes"]:
        print(f"Note: {note}.")
