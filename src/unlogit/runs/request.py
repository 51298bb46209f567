"""Which request a run folder is of, and whether an earlier one is gone on with."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from unlogit.data.examples import Example
from unlogit.errors import ConfigError
from unlogit.evaluate.results import read_json
from unlogit.files import write_json
from unlogit.runs.folder import CEILINGS, RunFolder
from unlogit.runs.writing import WRITER_TEXTS, WRITTEN
from unlogit.settings.options import RunConfig


def request_of(config: RunConfig, forget: Sequence[Example], writer: str) -> dict[str, Any]:
    """Return what tells one request from another, without its text."""
    rows = json.dumps([row.to_row() for row in forget], sort_keys=True)
    return {
        "target": config.target,
        **{name: getattr(config.data, name) for name in ("forget", "retain", "columns", "seed")},
        "rows": hashlib.sha256(rows.encode()).hexdigest(),
        **({"writer": writer} if writer else {}),
    }


def check_settings(stored: RunConfig, asked: RunConfig, given: Mapping[str, Any]) -> None:
    """Refuse to go on with a request whose settings are given otherwise now; ceilings may be raised.

    Args:
        stored: what the request was begun with.
        asked: what is asked for now.
        given: which of it was given, by section and key.

    Raises:
        ConfigError: a setting differs.
    """
    names = [(section, key) for section, values in given.items() if isinstance(values, Mapping) for key in values]
    names += [("train", "objective")]
    changed = [
        f"{section}.{key} {getattr(getattr(stored, section), key)}, now {getattr(getattr(asked, section), key)}"
        for section, key in dict.fromkeys(names)
        if not (section == "train" and key in CEILINGS)
        and getattr(getattr(stored, section), key) != getattr(getattr(asked, section), key)
    ]
    if changed:
        raise ConfigError(
            f"the request in {stored.output} was begun with other settings ({'; '.join(changed)}); expected the same: "
            "leave them as they were, or give --overwrite instead of --resume"
        )


def begin_request(folder: RunFolder, request: dict[str, Any], resume: bool, overwrite: bool) -> bool:
    """Write down which request this is; return whether an earlier one is gone on with."""
    earlier = read_json(folder.request) if folder.request.is_file() else None
    if not earlier and folder.path.exists() and any(folder.path.iterdir()) and not overwrite:
        raise ConfigError(
            f"{folder.path} is not empty and holds no request; expected a new folder: choose another output"
        )
    if earlier and not (resume or overwrite):
        raise ConfigError(
            f"{folder.path} holds an earlier request; expected a new folder: choose another output, or give --resume "
            "to go on with it, or --overwrite to begin anew"
        )
    if earlier and resume and earlier != request:
        changed = ", ".join(name for name in {**request, **earlier} if earlier.get(name) != request.get(name))
        raise ConfigError(
            f"{folder.path} holds another request ({changed} changed); expected the same to go on with: give "
            "--overwrite to begin anew, or choose another output"
        )
    if overwrite and folder.path.is_dir():  # now: a cut must not leave the earlier rows beside the new request
        folder.set_training_aside()
        folder.drop_aside()
        if folder.prepared:
            shutil.rmtree(folder.data)
            folder.config.unlink()
    if not resume:
        of_request = (folder.path / WRITTEN, folder.path / WRITER_TEXTS, folder.ghosts, folder.check)
        for path in (*of_request, folder.check.with_suffix(".txt")):
            path.unlink(missing_ok=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.request, request)
    return bool(earlier) and resume
