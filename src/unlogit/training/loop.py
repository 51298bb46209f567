"""The only training loop: transformers' Trainer over the sides of a recipe.

``fit`` encodes the rows of a recipe's sides, measures what its loss needs of the untrained model, and trains;
``save_fitted`` saves what came out. They print nothing but progress, and neither combine nor evaluate.

Several processes (DDP) and gradient accumulation share the rows of a step; each piece's mean counts by its part of the
step, so that the gradients are those of one process.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerCallback

from unlogit.device import cast_weights, choose_device, join_processes, on_main_process, wait_for_all
from unlogit.files import atomic_folder, write_json
from unlogit.model.vocabulary import check_readable
from unlogit.objectives.sides import SIDES
from unlogit.settings.options import AssistantOptions, CombinationOptions, LoopOptions
from unlogit.training.ceiling import LastStepLogged, ceiling_of
from unlogit.training.recipe import Pools, Recipe
from unlogit.training.reference import Reference, measure_reference
from unlogit.training.rows import collate, predicting_positions, split_sides
from unlogit.training.steps import make_steps
from unlogit.training.trainable import Trainable
from unlogit.training.trainer import (
    SETTINGS_FILE,
    TRAINER_VALUES,
    RowTrainer,
    StopOnNonFinite,
    checkpoint_folder,
    checkpoints_beside,
    resolved_dtype,
    run_training,
    training_arguments,
)


@dataclass(frozen=True)
class FitSettings:
    """What a training needs beside its recipe, model and rows."""

    options: LoopOptions
    """None in them is filled by ``Recipe.filled`` beforehand."""
    shape: AssistantOptions = field(default_factory=AssistantOptions)
    combination: CombinationOptions = field(default_factory=CombinationOptions)
    refusals: Sequence[str] = ()
    resume: bool = False
    bar: bool = True
    callbacks: Callable[[Trainable], Sequence[TrainerCallback]] = lambda _: ()
    record: Mapping[str, Any] = field(default_factory=dict)
    """What says on what is trained, kept beside the checkpoints and what was trained."""


@dataclass(frozen=True)
class Fitted:
    """What came out of a training."""

    trained: Trainable
    summary: dict[str, Any]
    """Settings, steps, seconds, trainable parameters, terms as last logged."""


class FitTrainer(RowTrainer):
    """A recipe's loss on the sides of a step; logs its terms. Checkpoints hold what trains, and nothing else."""

    def __init__(self, recipe: Recipe, options: LoopOptions, reference: Reference, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipe, self.objective_options, self.reference = recipe, recipe.own_options(options), reference

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Any:
        """Return the loss of one batch: a step, or a piece of one."""
        with self.accelerator.autocast():
            keep = predicting_positions(inputs["token_sides"])  # [B, T]
            outputs = model(inputs["input_ids"], inputs["attention_mask"], keep)  # [N, H] or [N, V]
            sides = split_sides(outputs, inputs, self.model.head, self.reference)
            terms = self.recipe.loss(sides, self.objective_options)
        cells = {name: (SIDES.index(term.side), ("row", "token").index(term.per)) for name, term in terms.items()}
        means = {name: term.mean * inputs["shares"][cells[name]] for name, term in terms.items()}
        self.keep_terms(**means)
        return sum(term.weight * means[name] for name, term in terms.items())

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save(output_dir, {name: p.data for name, p in self.model.named_parameters() if p.requires_grad})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.model.load_state_dict(load_file(Path(resume_from_checkpoint) / "model.safetensors"), strict=False)


def fit(recipe: Recipe, model: Any, tokenizer: Any, pools: Pools, output: Path, settings: FitSettings) -> Fitted:
    """Train by a recipe; ``save_fitted`` writes what came out into ``output``.

    Checkpoints stand beside ``output``, in ``<output>.checkpoints``, until the run has ended well. With ``resume`` the
    run goes on from the newest complete one; on a CPU it then ends with the same weights, bit for bit.

    Args:
        recipe: what is trained, on which sides, by which loss.
        model: the target; frozen and shared where the recipe combines, else trained in place.
        tokenizer: the model's.
        pools: rows by pool.
        output: folder of what is trained.
        settings: of the training.

    Raises:
        ConfigError: a setting is out of range, or the loss is no longer finite.
        DataError: a side has no rows, or one has a token that the model has no row for.
    """
    started, options, combines = time.monotonic(), settings.options, recipe.trains.combines
    check_readable(chain.from_iterable(pools.values()), tokenizer, model.config.get_text_config().vocab_size)
    join_processes()
    device = choose_device()
    model.to(device)
    if combines:
        model.eval().requires_grad_(False)
    steps = make_steps(recipe, tokenizer, pools, options, settings.refusals)
    work, checkpoint = checkpoint_folder(output, settings.resume)
    if settings.record and on_main_process():
        write_json(work / SETTINGS_FILE, settings.record)
    dtype = resolved_dtype(options.dtype, device, work, resuming=checkpoint is not None)
    if combines:
        cast_weights(model, dtype)  # frozen: kept in the compute type, not cast anew in every step
    trained = recipe.trains(model, settings.shape, settings.combination, options.seed).to(device)
    arguments = training_arguments(work, options, len(steps.order), dtype, device, settings.bar)
    reference = Reference()
    if recipe.needs:
        rows = steps.referred(arguments.max_steps)
        reference = measure_reference(trained.reference_model, rows, recipe.needs, dtype)
    trainer = FitTrainer(
        recipe,
        options,
        reference,
        log_file=work / "log.jsonl",
        model=trained,
        args=arguments,
        train_dataset=steps,
        data_collator=collate,
        callbacks=[StopOnNonFinite(), LastStepLogged(), *settings.callbacks(trained)],
    )
    summary = {
        **run_training(trainer, work, checkpoint, time.monotonic() - started),
        "dtype": str(dtype).removeprefix("torch."),
        "trainable_parameters": trainer.get_num_trainable_parameters(),
        "rows_a_step": steps.per_step,
        "terms": last_terms(trainer.state.log_history),
        "objective": asdict(trainer.objective_options),
        "ceiling": ceiling_of(trainer.callback_handler.callbacks),
    }
    return Fitted(trained.eval(), summary)


def save_fitted(fitted: Fitted, tokenizer: Any, output: Path, summary_file: str = "training.json") -> None:
    """Write what was trained with its summary, its log and its settings.

    The checkpoints are removed, but for those of a training that reached a ceiling, which can go on from there.
    """
    if on_main_process():
        work = checkpoints_beside(output)
        with atomic_folder(output) as folder:
            fitted.trained.save(folder, tokenizer)
            write_json(folder / summary_file, fitted.summary)
            for path in (work / "log.jsonl", work / SETTINGS_FILE):
                if path.exists():
                    shutil.copyfile(path, folder / path.name)
        if not fitted.summary["ceiling"]:
            shutil.rmtree(work)
    wait_for_all()


def last_terms(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the terms of the loss, in nats, as last logged."""
    last: Mapping[str, float] = next((line for line in reversed(history) if "loss" in line), {})
    return {name: value for name, value in last.items() if name not in TRAINER_VALUES}
