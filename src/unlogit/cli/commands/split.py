"""``unlogit split``: from plain-text documents to rows to train on, and rows that no model is trained on."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import SplitOptions

SIDES = {"forget": ("forget", "holdout"), "retain": ("retain", "retain_holdout")}
"""The files of each side, without suffix: those to train on, and those that no model is trained on."""

SUMMARY = "split.json"


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
    from unlogit.data.books import check_split, find_documents, read_document, split_documents
    from unlogit.model.loading import load_tokenizer

    names = {field.name for field in fields(SplitOptions)}
    options = SplitOptions(**{name: value for name, value in given.items() if name in names})
    check_split(options)
    output = Path(given["output"])
    _check_output(output, given.get("overwrite", False))
    forget = find_documents(given["forget"])
    documents = {"forget": forget, "retain": find_documents(given["retain"], apart=forget)}
    texts = {side: [read_document(path) for path in paths] for side, paths in documents.items()}
    tokenizer = load_tokenizer(given["model"])
    pieces = {side: split_documents(texts[side], tokenizer, options) for side in SIDES}
    rows = {
        name: piece
        for side, (training, holdout) in SIDES.items()
        for name, piece in ((training, pieces[side].training), (holdout, pieces[side].holdout))
    }
    summary = {
        "documents": {side: [str(path) for path in paths] for side, paths in documents.items()},
        "rows": {name: len(piece) for name, piece in rows.items()},
        "model": given["model"],
        "options": asdict(options),
    }
    _write(output, rows, summary)
    for side, paths in documents.items():
        training, holdout = SIDES[side]
        print(
            f"{side}: {', '.join(path.name for path in paths)}: {len(rows[training])} pieces to train on in "
            f"{output / training}.jsonl, {len(rows[holdout])} never to be trained on in {output / holdout}.jsonl"
        )


def _check_output(output: Path, overwrite: bool) -> None:
    """Refuse to lose files: those of an earlier split unless asked to, others in any case."""
    ours = {SUMMARY, *(f"{name}.jsonl" for names in SIDES.values() for name in names)}
    blocking = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if blocking - ours or (output.exists() and not output.is_dir()):
        raise ConfigError(f"{output} holds something else than rows of a split; expected a new folder: choose another")
    if blocking and not overwrite:
        raise ConfigError(
            f"{output} holds the rows of an earlier split; expected a new folder: choose another, or give --overwrite"
        )


def _write(output: Path, rows: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write all files or none; what is of the documents to forget is readable by its owner only."""
    from unlogit.files import atomic_folder, write_json, write_json_lines

    with atomic_folder(output) as folder:
        for name, piece in rows.items():
            mode = 0o600 if name in SIDES["forget"] else 0o644
            write_json_lines(folder / f"{name}.jsonl", (row.to_row() for row in piece), mode)
        write_json(folder / SUMMARY, summary)
