"""Ordinary training of a whole model on rows: how targets and retain models are made.

Nothing here is about forgetting. Loss falls on answer tokens and the end-of-text token (or on all tokens).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.errors import ConfigError
from unlogit.settings.options import FinetuneOptions
from unlogit.settings.retired import up_to_date
from unlogit.training.loop import FitSettings, fit, save_fitted
from unlogit.training.recipe import finetune_recipe
from unlogit.training.trainer import checkpoints_beside, last_checkpoint


def finetune(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    output: Path,
    options: FinetuneOptions,
    resume: bool = False,
    bar: bool = True,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train ``model`` in place and save it, with its tokenizer, into ``output``.

    Checkpoints stand beside ``output``, in ``<output>.checkpoints``, while training runs, and are removed at the end.
    With ``resume`` the run goes on from the newest complete one, under the same options and ``settings`` (whatever
    else says what is trained on what; kept in ``output/settings.json``).

    Raises:
        ModelError: the model cannot compute its head at chosen positions only.
        ConfigError: a resumed run has other settings than it began with.

    Returns:
        Rows, steps, seconds and the last logged loss.
    """
    settings = {**(settings or {}), "rows": len(examples), **asdict(options)}
    work = checkpoints_beside(output)
    resuming = resume and last_checkpoint(work) is not None
    if resuming:
        _check_unchanged(work / "settings.json", settings)
    fitted = fit(
        finetune_recipe(options.loss_on),
        model,
        tokenizer,
        {"forget": examples},
        output,
        FitSettings(options, resume=resume, bar=bar),
        work_files={"settings.json": settings},
    )
    summary = fitted.summary
    summary.update(rows=len(examples), loss=summary["terms"].get("answer"), options=asdict(options))
    save_fitted(fitted, tokenizer, output, {"settings.json": settings, "finetune.json": summary_of(summary)})
    return summary


def summary_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what finetune.json holds."""
    names = ("rows", "steps", "seconds", "setup_seconds", "peak_memory_bytes", "dtype", "loss", "options")
    return {name: summary[name] for name in names}


def _check_unchanged(path: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on with other settings than a training began with."""
    earlier = json.loads(path.read_text()) if path.exists() else settings
    earlier = asdict(FinetuneOptions()) | up_to_date({"train": earlier}, str(path))["train"]
    changed = [
        f"{name} {earlier.get(name)}, now {value}" for name, value in settings.items() if earlier.get(name) != value
    ]
    if changed:
        raise ConfigError(
            f"the training in {path.parent} was begun with other settings ({'; '.join(changed)}); expected the same: "
            "leave them as they were, or give --overwrite instead of --resume"
        )
