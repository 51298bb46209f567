"""``unlogit split``: from plain-text documents to rows to train on, and rows that no model is trained on."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import SplitOptions


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "split",
        "--forget TEXTS --retain TEXTS --model MODEL --output FOLDER [options]",
        "Cut long documents into pieces and write FOLDER/forget.jsonl and retain.jsonl, for `unlogit finetune` and "
        "`unlogit prepare`, and holdout.jsonl and retain_holdout.jsonl: pieces of the same documents that no model may "
        "be trained on, for `unlogit prepare --holdout … --retain_holdout …`. Nothing is trained here.",
        (
            "--forget secret.txt --retain documents --model MODEL --output rows",
            "--forget a.txt b.txt --retain c.txt --model MODEL --output rows --chunk_tokens 512 --holdout_fraction 0.5",
        ),
    )
    command.add_argument(
        "--forget", type=str, nargs="+", required=True, help="Text files to forget, or folders of them."
    )
    command.add_argument(
        "--retain", type=str, nargs="+", required=True, help="Text files to keep, or folders: all but those to forget."
    )
    command.add_argument("--model", type=str, required=True, help="Model whose tokens are counted: a folder or hub id.")
    command.add_argument("--output", type=str, required=True, help="Folder to write.")
    command.add_argument("--overwrite", action="store_true", help="Replace the rows of an earlier split.")
    add_options(command, SplitOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Split, and say what is where."""
    from unlogit.runs.split import SIDE_FILES, split_run

    names = {field.name for field in fields(SplitOptions)}
    options = SplitOptions(**{name: value for name, value in given.items() if name in names})
    output, sources = Path(given["output"]), {side: given[side] for side in SIDE_FILES}
    summary = split_run(sources, given["model"], output, options, overwrite=given.get("overwrite", False))
    rows = summary["rows"]
    for side, (training, holdout) in SIDE_FILES.items():
        print(
            f"{side}: {', '.join(Path(path).name for path in summary['documents'][side])}: {rows[training]} pieces to "
            f"train on in {output / training}.jsonl, {rows[holdout]} never to be trained on in {output / holdout}.jsonl"
        )
