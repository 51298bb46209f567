"""``unlogit finetune``: ordinary training of a whole model, to make a target or a retain model."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import FinetuneOptions


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "finetune",
        "--model MODEL --data ROWS --output FOLDER [options]",
        "Train a whole model on rows and save it as an ordinary model: a target (all rows) or a retain model (all but "
        "those to forget). Nothing is forgotten here.",
        (
            "--model MODEL --data all.jsonl --output models/target",
            "--model MODEL --data tofu:retain90 --tofu_folder FOLDER --output models/retain90 --learning_rate 1e-4",
            "--model MODEL --from_scratch --data tofu:retain95 tofu:real_authors --output models/tiny --loss_on all",
            "--model MODEL --data all.jsonl --output models/target --resume",
        ),
    )
    command.add_argument("--model", type=str, required=True, help="Model to start from: a folder or hub id.")
    command.add_argument(
        "--data", type=str, nargs="+", required=True, help="Rows: files, folders, hub data sets or tofu:NAME, joined."
    )
    command.add_argument(
        "--from_scratch", action="store_true", help="Take the model's shape only, with random weights."
    )
    command.add_argument("--output", type=str, required=True, help="Folder of the trained model.")
    command.add_argument("--tofu_folder", type=str, default="", help="Folder that holds TOFU's files. Empty: the hub.")
    command.add_argument("--chunk_tokens", type=int, default=256, help="Tokens in each piece of a `text` document.")
    command.add_argument("--resume", action="store_true", help="Go on from the newest checkpoint, after a cut.")
    command.add_argument("--overwrite", action="store_true", help="Replace the model of an earlier run.")
    add_options(command, FinetuneOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Train, and say where the model is."""
    from unlogit.device import on_main_process
    from unlogit.runs.finetune import FinetuneSources, finetune_run

    sources = FinetuneSources(**_of(FinetuneSources, given))
    options = FinetuneOptions(**_of(FinetuneOptions, given))
    output = given["output"]
    summary = finetune_run(
        sources, Path(output), options, resume=given.get("resume", False), overwrite=given.get("overwrite", False)
    )
    if not on_main_process():
        return
    if summary is None:
        print(f"{output} is trained already.")
        return
    print(f"Trained on {summary['rows']:,} rows, {summary['steps']:,} steps, {summary['seconds']:,} seconds.")
    print(f"The model is in {output}.")


def _of(kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return what was given of the fields of a dataclass."""
    return {field.name: given[field.name] for field in fields(kind) if field.name in given}
