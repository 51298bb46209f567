"""Ordinary training of a whole model on rows: how targets and retain models are made.

Nothing here is about forgetting. Loss falls on answer tokens and the end-of-text token (or on all tokens).
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.pieces import check_prompts
from unlogit.data.sources import check_sources, read_examples
from unlogit.errors import ConfigError
from unlogit.model.loading import check_ordinary, load_target, load_tokenizer, new_model
from unlogit.runs.checks import loop_problems
from unlogit.settings.options import AssistantOptions, DataOptions, FinetuneOptions
from unlogit.settings.retired import up_to_date
from unlogit.terminal import has_bar
from unlogit.training.loop import FitSettings, fit, save_fitted
from unlogit.training.recipe import finetune_recipe
from unlogit.training.trainer import checkpoints_beside, last_checkpoint, within_positions

log = logging.getLogger(__name__)

LEAST_STEPS = 200
"""Steps of a training whose passes are not given, at least: a few rows in five passes teach nothing."""


@dataclass(frozen=True)
class FinetuneSources:
    """What is trained, on what."""

    model: str
    """Folder or hub id."""
    data: Sequence[str]
    """Sources of rows, joined."""
    from_scratch: bool = False
    """Whether only the model's shape is taken, with random weights."""
    tofu_folder: str = ""
    chunk_tokens: int = DataOptions.chunk_tokens


def finetune_run(
    sources: FinetuneSources, output: Path, options: FinetuneOptions, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any] | None:
    """Read rows, load the model, and train it as ``finetune`` does.

    Returns:
        What ``finetune`` returns, or None where ``resume`` found nothing left to do.

    Raises:
        ConfigError: a setting is out of range, or ``output`` holds something else.
        DataError: a source cannot be read.
        ModelError: the model cannot be used, or is an unlearned one.
    """
    problems = loop_problems(options)
    if sources.chunk_tokens < 16:
        problems.append(f"chunk_tokens is {sources.chunk_tokens}; expected 16 or more")
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")
    if _done(output, resume, overwrite):
        return None
    check_sources(*sources.data)
    check_ordinary(sources.model)
    tokenizer = load_tokenizer(sources.model)
    rows = [
        row
        for source in sources.data
        for row in read_examples(
            source, tokenizer=tokenizer, chunk_tokens=sources.chunk_tokens, tofu_folder=sources.tofu_folder
        )
    ]
    model = new_model(sources.model, options.seed) if sources.from_scratch else load_target(sources.model)
    settings = {**asdict(sources), "data": " ".join(sources.data)}
    return finetune(model, tokenizer, rows, output, options, resume, has_bar(), settings)


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
        ModelError: the model is of an architecture that is not understood.
        ConfigError: a resumed run has other settings than it began with.

    Returns:
        Rows, steps, seconds and the last logged loss.
    """
    options = filled(options, len(examples), sum(p.numel() for p in model.parameters()))
    options = within_positions(options, model)
    check_prompts(examples, tokenizer, options.max_tokens)
    settings = {**(settings or {}), "rows": len(examples), **asdict(options)}
    work = checkpoints_beside(output)
    resuming = resume and last_checkpoint(work) is not None
    if resuming:
        _check_unchanged(work / "settings.json", settings)
    fit_settings = FitSettings(options, AssistantOptions(adapter="full"), resume=resume, bar=bar, record=settings)
    fitted = fit(finetune_recipe(options.loss_on), model, tokenizer, {"forget": examples}, output, fit_settings)
    _warn_unless_learnt(work / "log.jsonl")
    summary = fitted.summary
    summary.update(rows=len(examples), loss=summary["terms"].get("answer"), options=asdict(options))
    save_fitted(fitted, tokenizer, output, "finetune.json")
    return summary


def filled(options: FinetuneOptions, rows: int, parameters: int) -> FinetuneOptions:
    """Return the options with learning rate and passes for so many rows and parameters, where they are None."""
    if options.epochs is None:
        steps_a_pass = max(1, math.ceil(rows / options.batch_size))
        options = replace(options, epochs=max(5.0, math.ceil(LEAST_STEPS / steps_a_pass)))
    return finetune_recipe(options.loss_on).filled(options, "full", parameters)[0]


def _warn_unless_learnt(log_file: Path) -> None:
    """Say that the loss did not fall, where that can be seen."""
    losses = [entry["loss"] for entry in map(json.loads, log_file.read_text().splitlines()) if "loss" in entry]
    if len(losses) > 1 and losses[-1] > max(0.1, 0.9 * losses[0]):  # it may have known them from the start
        log.warning(
            f"the loss did not fall: {losses[0]:.2f} in the first steps, {losses[-1]:.2f} in the last, so the model "
            "has hardly learnt the rows: train longer (epochs) or faster (learning_rate)"
        )


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


def _done(output: Path, resume: bool, overwrite: bool) -> bool:
    """Return whether there is nothing left to do; refuse to lose what an earlier training made.

    Raises:
        ConfigError: the folder is in use, or a training was cut off, and neither flag says what to do; or it holds
            files of no training, which no flag is asked to remove.
    """
    trained = (output / "finetune.json").is_file()
    used = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if used and not trained and (resume or overwrite):
        raise ConfigError(
            f"{output} is not empty and holds no model that `unlogit finetune` made, whose place it would take; "
            "expected one, or a new folder: choose another"
        )
    if overwrite:
        return False
    cut_off = any((output.parent / f"{output.name}.checkpoints").glob("checkpoint-*"))
    if resume:
        return not cut_off and trained
    if cut_off:
        raise ConfigError(
            f"{output}.checkpoints holds a training that was cut off; expected none: give --resume to go on with "
            "it, or --overwrite to begin anew"
        )
    if used:
        how = ", or give --overwrite" if trained else ""
        raise ConfigError(f"{output} is not empty; expected a new folder: choose another{how}")
    return False
