"""What a run was made from and what it made, by hash: ``RUN/digests.json``.

A step that goes on from an earlier one refuses rows or a target that are no longer the same; an evaluation says what
else has changed. Hub ids and missing files are passed over: nothing can be told of them. A run without the file, of an
earlier version, passes.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unlogit.data.sources import NO_FILES, source_of
from unlogit.device import on_main_process
from unlogit.errors import ConfigError
from unlogit.files import write_json
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import RunConfig

log = logging.getLogger(__name__)

WHOLE_BYTES = 2**26
"""Larger files are sampled: ``SAMPLES`` pieces of ``SAMPLE_BYTES``, evenly spaced, and the size."""
SAMPLES, SAMPLE_BYTES = 256, 2**12

SOURCES = ("forget", "retain", "neutral", "holdout", "retain_holdout", "general", "refusals")
"""Settings of ``data`` that name sources."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def record_prepared(folder: RunFolder, config: RunConfig) -> None:
    """Record sources, target, tokenizer and the rows to score; what was recorded of an earlier run goes."""
    values = {"sources": _sources(config), **_of_target(config), "evaluation": _evaluation(folder)}
    write_json(folder.digests, values | {"retain_model": _retain_model(config)})


def record_target(folder: RunFolder, config: RunConfig) -> None:
    """Record the target that a training begins with."""
    write_json(folder.digests, _read(folder) | _of_target(config))


def record_trained(folder: RunFolder) -> None:
    """Record what a training made; of several processes the first does."""
    if on_main_process():
        write_json(folder.digests, _read(folder) | {"trained": _trained(folder)})


def record_retain_model(folder: RunFolder, config: RunConfig) -> None:
    """Record the retain model's chat template, if it is one that no step has met."""
    recorded = _read(folder)
    write_json(folder.digests, recorded | {"retain_model": _retain_model(config) | recorded.get("retain_model", {})})


def check_sources_unchanged(folder: RunFolder, config: RunConfig) -> None:
    """Refuse to go on with rows that were prepared from other files.

    Raises:
        ConfigError: a file of a source has changed.
    """
    if changed := _changed(_read(folder).get("sources", {}), _sources(config)):
        names = ", ".join(f"{name} ({getattr(config.data, name)})" for name in changed)
        raise ConfigError(
            f"the rows of {names} have changed since {folder.data} was prepared; expected the same, to go on from "
            "there: put them back, or give --overwrite instead of --resume"
        )


def check_target_unchanged(folder: RunFolder, config: RunConfig) -> None:
    """Refuse to go on with a target whose weights have changed.

    Raises:
        ConfigError: they have.
    """
    if _changed(_only(_read(folder), "target"), _only(_of_target(config), "target")):
        raise ConfigError(
            f"the target {config.target} has other weights than when {folder.path} was begun; expected the same, to "
            "go on from there: put them back, or give --overwrite instead of --resume"
        )


def check_trained(folder: RunFolder, config: RunConfig) -> None:
    """Refuse to go on from a training that was begun with other settings, rows or weights; say what else has changed.

    Raises:
        ConfigError, DataError: see ``RunFolder.check_training`` and ``check_target_unchanged``.
    """
    folder.check_training(config)
    check_target_unchanged(folder, config)
    for line in changes(folder, config):
        log.warning(line)


def changes(folder: RunFolder, config: RunConfig) -> list[str]:
    """Return a line for each thing that has changed and does not hinder an evaluation."""
    recorded = _read(folder)
    lines = []
    if rows := _changed(recorded.get("evaluation", {}), _evaluation(folder)):
        lines.append(f"the rows to score have changed since {folder.path} was prepared ({', '.join(rows)})")
    if files := _changed(recorded.get("trained", {}), _trained(folder)):
        lines.append(f"files of {folder.path} have changed since it was trained ({', '.join(files)})")
    if _changed(_only(recorded, "tokenizer"), _only(_of_target(config), "tokenizer")):
        lines.append(f"the tokenizer of the target {config.target} has changed since {folder.path} was begun")
    for name in _changed(recorded.get("retain_model", {}), _retain_model(config)):
        lines.append(
            f"the chat template of the retain model {name} has changed: it is asked in another form than before"
        )
    return lines


def _read(folder: RunFolder) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(folder.digests.read_text()) if folder.digests.is_file() else {}
    return recorded


def _only(values: dict[str, Any], name: str) -> dict[str, str]:
    return {name: values[name]} if name in values else {}


def _changed(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what both have, and not the same."""
    return [name for name, digest in recorded.items() if name in now and now[name] != digest]


def _sources(config: RunConfig) -> dict[str, str]:
    digests = {}
    for setting in SOURCES:
        name = getattr(config.data, setting)
        files = [] if name in ("", "tofu", *NO_FILES) else source_of(name).files()
        if files and all(path.is_file() for path in files):
            digests[setting] = _digest(files)
    return digests


def _of_target(config: RunConfig) -> dict[str, str]:
    target = Path(config.target).expanduser()
    if not target.is_dir():
        return {}
    weights = [*target.glob("*.safetensors"), *target.glob("*.bin"), target / "config.json"]
    return {"target": _digest(weights), "tokenizer": _tokenizer(target)}


def _tokenizer(folder: Path) -> str:
    return _digest(folder / name for name in TOKENIZER_FILES)


def _evaluation(folder: RunFolder) -> dict[str, str]:
    return {path.name: _digest([path]) for path in (folder.data / "evaluation").glob("*.jsonl")}


def _trained(folder: RunFolder) -> dict[str, str]:
    """Adapters, wherever a run has them, the weights of an ordinary model, and the unlearned model's tokenizer."""
    adapters = [*folder.path.glob("*/assistant.safetensors"), *folder.unlearned.glob("*/assistant.safetensors")]
    files = [*adapters, *folder.unlearned.glob("*.safetensors")]
    digests = {str(path.relative_to(folder.path)): _digest([path]) for path in files}
    return digests | ({"tokenizer of unlearned": _tokenizer(folder.unlearned)} if folder.combined else {})


def _retain_model(config: RunConfig) -> dict[str, str]:
    """The chat template of a retain model that is a folder, by its name."""
    name = config.evaluate.retain_model
    model = Path(name).expanduser()
    if not name or not (model / "tokenizer_config.json").is_file():
        return {}
    template = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template", "")
    path = model / "chat_template.jinja"
    text = path.read_text(encoding="utf-8") if path.is_file() else json.dumps(template)
    return {name: hashlib.sha256(text.encode()).hexdigest()}


def _digest(files: Iterable[Path]) -> str:
    """Return a hash of those of these files that are there, with their names."""
    digest = hashlib.sha256()
    for path in sorted(files):
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as content:
            if size <= WHOLE_BYTES:
                digest.update(content.read())
                continue
            for i in range(SAMPLES):
                content.seek(i * (size - SAMPLE_BYTES) // (SAMPLES - 1))
                digest.update(content.read(SAMPLE_BYTES))
    return digest.hexdigest()
