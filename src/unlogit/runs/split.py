"""Long plain-text documents in pieces, written to a folder: rows to train on, and rows that no model is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlogit.data.books import check_split, find_documents, read_document, split_documents
from unlogit.data.examples import Example
from unlogit.errors import ConfigError
from unlogit.files import atomic_folder, write_json, write_json_lines
from unlogit.model.loading import load_tokenizer
from unlogit.settings.options import SplitOptions

SIDE_FILES = {"forget": ("forget", "holdout"), "retain": ("retain", "retain_holdout")}
"""The files of each side, without suffix: those to train on, and those that no model is trained on."""

SUMMARY = "split.json"


def split_run(
    sources: Mapping[str, Sequence[str]], model: str, output: Path, options: SplitOptions, *, overwrite: bool = False
) -> dict[str, Any]:
    """Cut documents into pieces and write them to ``output``.

    Args:
        sources: text files or folders of them, of the sides ``forget`` and ``retain``.
        model: folder or hub id of the model whose tokens are counted.
        output: folder to write.
        options: of the split.
        overwrite: replace the rows of an earlier split.

    Returns:
        ``documents`` of each side, how many ``rows`` each file has, and the settings, as in ``split.json``.

    Raises:
        ConfigError: a setting is out of range, or ``output`` holds something else.
        DataError: a document cannot be read, or one of the parts would be empty.
        ModelError: the model has no tokenizer that can be used.
    """
    check_split(options)
    _check_output(output, overwrite)
    forget = find_documents(sources["forget"])
    documents = {"forget": forget, "retain": find_documents(sources["retain"], apart=forget)}
    texts = {side: [read_document(path) for path in paths] for side, paths in documents.items()}
    tokenizer = load_tokenizer(model)
    pieces = {side: split_documents(texts[side], tokenizer, options) for side in SIDE_FILES}
    rows = {
        name: examples
        for side, (training, holdout) in SIDE_FILES.items()
        for name, examples in ((training, pieces[side].training), (holdout, pieces[side].holdout))
    }
    summary = {
        "documents": {side: [str(path) for path in paths] for side, paths in documents.items()},
        "rows": {name: len(examples) for name, examples in rows.items()},
        "model": model,
        "options": asdict(options),
    }
    _write(output, rows, summary)
    return summary


def _check_output(output: Path, overwrite: bool) -> None:
    """Refuse to lose files: those of an earlier split unless asked to, others in any case."""
    ours = {SUMMARY, *(f"{name}.jsonl" for names in SIDE_FILES.values() for name in names)}
    blocking = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if blocking - ours or (output.exists() and not output.is_dir()):
        raise ConfigError(f"{output} holds something else than rows of a split; expected a new folder: choose another")
    if blocking and not overwrite:
        raise ConfigError(
            f"{output} holds the rows of an earlier split; expected a new folder: choose another, or give --overwrite"
        )


def _write(output: Path, rows: Mapping[str, Sequence[Example]], summary: Mapping[str, Any]) -> None:
    """Write all files or none; what is of the documents to forget is readable by its owner only."""
    with atomic_folder(output) as folder:
        for name, examples in rows.items():
            mode = 0o600 if name in SIDE_FILES["forget"] else 0o644
            write_json_lines(folder / f"{name}.jsonl", (row.to_row() for row in examples), mode)
        write_json(folder / SUMMARY, summary)
