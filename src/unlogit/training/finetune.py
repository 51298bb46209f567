"""Ordinary training of a whole causal language model on rows: how targets and retain models are made.

Nothing here is about forgetting. Loss falls on answer tokens and the end-of-text token (or on all tokens), the head is
computed only where a batch has answers.
"""

import inspect
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlogit.data.batches import LengthSortedSampler, pad_rows
from unlogit.data.encode import IGNORED_LABEL, encode
from unlogit.data.examples import Example
from unlogit.device import choose_device
from unlogit.errors import ConfigError, ModelError
from unlogit.files import atomic_folder, write_json
from unlogit.settings.options import FinetuneOptions
from unlogit.training.trainer import (
    Rows,
    RowTrainer,
    StopOnNonFinite,
    checkpoint_folder,
    resolved_dtype,
    run_training,
    training_arguments,
)


class AnswerTrainer(RowTrainer):
    """Cross-entropy on labelled positions, with the head computed from the batch's first answer token on."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean cross-entropy a labelled token."""
        labels: Tensor = inputs["labels"]  # [B, T]
        first = int((labels != IGNORED_LABEL).any(dim=0).nonzero()[0])
        keep = torch.arange(first - 1, labels.shape[1] - 1, device=labels.device)
        outputs = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=keep, use_cache=False
        )
        wanted = labels[:, first:]
        counted = wanted != IGNORED_LABEL
        loss = nn.functional.cross_entropy(outputs.logits[counted].float(), wanted[counted])
        return (loss, outputs) if return_outputs else loss


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
    device = choose_device()
    _check_head(model)
    rows = [encode(example, tokenizer, options.max_tokens) for example in examples]
    if options.loss_on == "all":
        rows = [replace(row, prompt_tokens=1) for row in rows]
    work, checkpoint = checkpoint_folder(output, resume)
    settings = {**(settings or {}), "rows": len(rows), **asdict(options)}
    _check_unchanged(work / "settings.json", settings, resuming=checkpoint is not None)
    dtype = resolved_dtype(options.dtype, device, work, resuming=checkpoint is not None)
    sampler = LengthSortedSampler([len(row.input_ids) for row in rows], options.batch_size, options.seed)
    arguments = training_arguments(
        work,
        options,
        steps_a_epoch=-(-len(rows) // options.batch_size),
        row_batch=options.batch_size,
        dtype=dtype,
        device=device,
        bar=bar,
    )
    trainer = AnswerTrainer(
        sampler,
        work / "log.jsonl",
        model=model,
        args=arguments,
        train_dataset=Rows(rows),
        data_collator=pad_rows,
        callbacks=[StopOnNonFinite()],
    )
    taken = run_training(trainer, work, checkpoint)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    summary = {
        "rows": len(rows),
        **taken,
        "dtype": str(dtype).removeprefix("torch."),
        "loss": losses[-1] if losses else None,
        "options": asdict(options),
    }
    with atomic_folder(output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(folder / "settings.json", settings)
        write_json(folder / "finetune.json", summary)
    shutil.rmtree(work)
    return summary


def _check_head(model: Any) -> None:
    """Refuse a model that cannot compute its head at chosen positions only."""
    if "logits_to_keep" not in inspect.signature(type(model).forward).parameters:
        raise ModelError(
            f"{type(model).__name__} takes no logits_to_keep; expected a causal language model of transformers that "
            "does: choose another"
        )


def _check_unchanged(path: Path, settings: dict[str, Any], resuming: bool) -> None:
    """Keep the settings beside the checkpoints; refuse to go on with others."""
    if not resuming:
        write_json(path, settings)
        return
    begun = json.loads(path.read_text()) if path.exists() else settings
    changed = [f"{name} {begun.get(name)}, now {value}" for name, value in settings.items() if begun.get(name) != value]
    if changed:
        raise ConfigError(
            f"the training in {path.parent} was begun with other settings ({'; '.join(changed)}); expected the same: "
            "leave them as they were, or give --overwrite instead of --resume"
        )
