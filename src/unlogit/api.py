"""What people call from Python: ``unlogit.forget`` and ``unlogit.load``.

    model = unlogit.forget(target, tokenizer, forget=rows, retain=others)
    model.generate(**tokenizer("Where was Anna born?", return_tensors="pt"))

The steps are those of the command line (``runs``); nothing is printed.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlogit.data.prepare import prepare
from unlogit.device import choose_device
from unlogit.files import write_json_lines
from unlogit.model.loading import load_unlearned
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.runs.checks import check_shape, check_train
from unlogit.runs.folder import RunFolder
from unlogit.runs.train import RunTraining, read_pools
from unlogit.settings.config_file import build_config, updated

Rows = str | Path | Sequence[Mapping[str, Any]]
"""A file, folder, hub data set or ``tofu:NAME``; or rows as dicts, with the columns that a file would have."""


def forget(
    model: Any,
    tokenizer: Any,
    *,
    forget: Rows,
    retain: Rows = "",
    output: str | Path | None = None,
    **settings: Mapping[str, Any],
) -> UnlearnedForCausalLM:
    """Train an assistant that remembers the forget rows, and return the model without them.

    Args:
        model: a causal language model of transformers; frozen and shared, otherwise left as it is.
        tokenizer: its fast tokenizer.
        forget: what must go.
        retain: what must stay: rows like the forget rows, on other subjects.
        output: run folder to keep rows, assistant and settings in, which ``unlogit evaluate`` reads; None keeps none.
        **settings: sections of a config file as dicts, such as ``train={"epochs": 20}``.

    Raises:
        ConfigError, DataError, ModelError: as the command line's steps.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run_path = Path(output) if output is not None else Path(scratch) / "run"
        rows = {"forget": forget, "retain": retain}
        sources = {name: _source(side, run_path / f"{name}.jsonl") for name, side in rows.items()}
        config = build_config({"output": str(run_path), "target": model.name_or_path or "model"})
        config = updated(config, {"data": sources})
        for section, values in settings.items():
            config = updated(config, {section: dict(values)})
        check_shape(config.assistant)
        check_train(config.train)
        folder = RunFolder(run_path)
        prepare(config, tokenizer, finish=lambda: folder.write_config(config))
        folder.begin_training(config)
        training = RunTraining(
            folder, config, model.to(choose_device()), tokenizer, read_pools(folder.data), keep=output is not None
        )
        unlearned: UnlearnedForCausalLM = training.train()[1]
        return unlearned


def load(folder: str | Path, target: str = "", dtype: str = "auto") -> UnlearnedForCausalLM:
    """Load an unlearned model by its folder or its run's.

    Args:
        folder: of the unlearned model, or the run folder that holds it.
        target: where its target is now; empty for where it was.
        dtype: ``float32``, ``bfloat16``, or ``auto`` for what this machine is faster with.

    Raises:
        ModelError: there is none, its target is gone, or is not the one that the assistant was trained on.
    """
    model: UnlearnedForCausalLM = load_unlearned(str(folder), target, dtype)
    return model


def _source(rows: Rows, path: Path) -> str:
    """Return a source of rows that ``prepare`` reads; rows that were given as such are written beside the run."""
    if isinstance(rows, (str, Path)):
        return str(rows)
    write_json_lines(path, rows, mode=0o600)
    return str(path)
