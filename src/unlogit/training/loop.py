"""The only training loop: transformers' Trainer over the sides of a recipe.

``fit`` encodes the rows of a recipe's sides, measures what its loss needs of the untrained model, trains, and saves
what came out. It returns a summary and prints nothing but progress. It neither combines nor evaluates.

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

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from unlogit.device import choose_device, join_processes, on_main_process, wait_for_all
from unlogit.files import atomic_folder, write_json
from unlogit.model.vocabulary import check_readable
from unlogit.objectives.sides import SIDES
from unlogit.objectives.terms import Term
from unlogit.settings.objective_options import ObjectiveOptions
from unlogit.settings.options import AssistantOptions, CombinationOptions, LoopOptions
from unlogit.training.ceiling import LastStepLogged, ceiling_of
from unlogit.training.recipe import Pools, Recipe
from unlogit.training.reference import Reference, measure_reference
from unlogit.training.rows import collate, predicting_positions, split_sides
from unlogit.training.steps import RowData, Steps, make_steps
from unlogit.training.trainable import Trainable
from unlogit.training.trainer import (
    TRAINER_VALUES,
    EachEpoch,
    RowTrainer,
    StopOnNonFinite,
    checkpoint_folder,
    pieces_of,
    resolved_dtype,
    run_training,
    training_arguments,
    with_setup,
)


@dataclass(frozen=True)
class Fitted:
    """What came out of a training."""

    trained: Trainable
    summary: dict[str, Any]
    """Settings, steps, seconds, trainable parameters, terms as last logged."""
    work: Path
    """The folder of checkpoints and log, until ``save_fitted``."""


@dataclass(frozen=True)
class FitSettings:
    """What a training needs beside its recipe, model and rows."""

    options: LoopOptions
    shape: AssistantOptions = field(default_factory=AssistantOptions)
    combination: CombinationOptions = field(default_factory=CombinationOptions)
    refusals: Sequence[str] = ()
    resume: bool = False
    bar: bool = True
    each_epoch: Callable[[Trainable], EachEpoch] | None = None
    """Given what is trained, returns what is called after each pass."""
    callbacks: Callable[[Trainable], Sequence[TrainerCallback]] = lambda _: ()


class FitTrainer(RowTrainer):
    """A recipe's loss on the sides of a step; logs its terms. Checkpoints hold what trains, and nothing else."""

    def __init__(self, recipe: Recipe, own: ObjectiveOptions, reference: Reference, pieces: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipe, self.objective_options, self.reference, self.pieces = recipe, own, reference, pieces
        self.model_accepts_loss_kwargs = False  # each piece's loss is divided by how many are accumulated

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of one batch: a step, or a piece of one."""
        trained: Any = self.accelerator.unwrap_model(model)
        with self.accelerator.autocast():
            keep = predicting_positions(inputs["token_sides"])  # [B, T]
            outputs = model(inputs["input_ids"], inputs["attention_mask"], keep)  # [N, H] or [N, V]
            sides = split_sides(outputs, inputs, trained.head, self.reference)
            if trained.head is not None:  # a frozen head computes in its own type
                terms = self.recipe.loss(sides, self.objective_options)
        if trained.head is None:
            terms = self.recipe.loss(sides, self.objective_options)
        shares = {name: self.share(term, inputs) for name, term in terms.items()}
        losses = [term.weight * shares[name] for name, term in terms.items()]
        loss = sum(losses[1:], losses[0])
        self.keep_terms(**shares)
        return (loss, outputs) if return_outputs else loss

    def share(self, term: Term, batch: dict[str, Tensor]) -> Tensor:
        """Return a term, times its batch's share of the step where that is cut into pieces."""
        if self.pieces == 1:
            return term.mean
        side, column = SIDES.index(term.side), ("row", "token").index(term.per)
        items = ((batch["row_sides"] == side).sum(), (batch["token_sides"][:, 1:] == side).sum())[column]
        total = batch["step_counts"][side, column].clamp(min=1)
        return term.mean * (items * self.pieces / total)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: p.detach().cpu().contiguous() for name, p in self._trained_tensors().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        torch.save(self.args, folder / "training_args.bin")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        tensors = load_file(Path(resume_from_checkpoint) / "model.safetensors")
        with torch.no_grad():
            for name, parameter in self._trained_tensors().items():
                parameter.copy_(tensors[name])

    def _trained_tensors(self) -> dict[str, nn.Parameter]:
        trained = self.accelerator.unwrap_model(self.model)
        return {name: p for name, p in trained.named_parameters() if p.requires_grad}


def fit(
    recipe: Recipe,
    model: Any,
    tokenizer: Any,
    pools: Pools,
    output: Path,
    settings: FitSettings,
    *,
    work_files: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train by a recipe and save what came out into ``output``.

    Checkpoints stand beside ``output``, in ``<output>.checkpoints``, until the run has ended well. With ``resume`` the
    run goes on from the newest complete one; on a CPU it then ends with the same weights, bit for bit.

    Args:
        recipe: what is trained, on which sides, by which loss.
        model: the target; frozen and shared where the recipe combines, else trained in place.
        tokenizer: the model's.
        pools: rows by pool.
        output: folder of what is trained.
        settings: of the training; None in its options is filled by ``Recipe.filled`` beforehand.
        work_files: JSON to keep beside the checkpoints, by file name.

    Raises:
        ConfigError: a setting is out of range, or the loss is no longer finite.
        DataError: a side has no rows, or one has a token that the model has no row for.
    """
    options = settings.options
    check_readable(chain.from_iterable(pools.values()), tokenizer, model.config.get_text_config().vocab_size)
    join_processes()
    device = choose_device()
    model.to(device)
    if recipe.combines:
        model.eval().requires_grad_(False)
    started = time.monotonic()
    steps = make_steps(recipe, tokenizer, pools, options, settings.refusals, pieces_of(options))
    setup = time.monotonic() - started
    work, checkpoint = checkpoint_folder(output, settings.resume)
    if on_main_process():
        for name, value in (work_files or {}).items():
            write_json(work / name, value)
    dtype = resolved_dtype(options.dtype, device, work, resuming=checkpoint is not None)
    if recipe.combines:
        model.to(dtype)  # frozen: kept in the compute type, not cast anew in every step
    trained = recipe.make(model, settings.shape, settings.combination, options.seed).to(device)
    trainer, measuring = _trainer(recipe, trained, steps, settings, work, dtype)
    summary = {
        **with_setup(run_training(trainer, work, checkpoint), setup + measuring),
        "dtype": str(dtype).removeprefix("torch."),
        "trainable_parameters": sum(p.numel() for p in trained.parameters() if p.requires_grad),
        "rows_a_step": steps.per_step,
        "terms": last_terms(trainer.state.log_history),
        "objective": asdict(trainer.objective_options),
        "ceiling": ceiling_of(trainer.callback_handler.callbacks),
    }
    return Fitted(trained.eval(), summary, work)


def _trainer(
    recipe: Recipe, trained: Trainable, steps: Steps, settings: FitSettings, work: Path, dtype: torch.dtype
) -> tuple[FitTrainer, float]:
    """Return the trainer, and the seconds that measuring its reference values took."""
    arguments = training_arguments(
        work,
        settings.options,
        steps_a_epoch=len(steps.order.sampler.step_rows()),
        row_batch=steps.batch_rows,
        dtype=dtype,
        device=choose_device(),
        bar=settings.bar,
    )
    started = time.monotonic()
    reference = _reference(recipe, trained, steps.referred(arguments.max_steps), dtype) if recipe.needs else Reference()
    seconds = time.monotonic() - started
    trainer = FitTrainer(
        recipe,
        recipe.own_options(settings.options),
        reference,
        steps.order.pieces,
        sampler=steps.order,
        log_file=work / "log.jsonl",
        each_epoch=settings.each_epoch(trained) if settings.each_epoch else None,
        model=trained,
        args=arguments,
        train_dataset=RowData(steps.rows),
        data_collator=collate,
        callbacks=[StopOnNonFinite(), LastStepLogged(), *settings.callbacks(trained)],
    )
    return trainer, seconds


def _reference(recipe: Recipe, trained: Trainable, rows: Any, dtype: torch.dtype) -> Reference:
    """Measure what the loss needs of the untrained model, computing as the training will."""
    return measure_reference(
        trained.reference_model,
        rows,
        recipe.needs,
        frozen=trained.reference_head_frozen,
        autocast=dtype if dtype != torch.float32 else None,
    )


def save_fitted(fitted: Fitted, tokenizer: Any, output: Path, files: Mapping[str, Any] | None = None) -> None:
    """Write what was trained with its summary, its log and other JSON ``files``.

    The checkpoints are removed, but for those of a training that reached a ceiling, which can go on from there.
    """
    if on_main_process():
        log = (fitted.work / "log.jsonl").read_text()
        with atomic_folder(output) as folder:
            fitted.trained.save(folder, tokenizer)
            write_json(folder / "training.json", fitted.summary)
            (folder / "log.jsonl").write_text(log)
            for name, value in (files or {}).items():
                write_json(folder / name, value)
        if not fitted.summary["ceiling"]:
            shutil.rmtree(fitted.work)
    wait_for_all()


def last_terms(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the terms of the loss, in nats, as last logged."""
    last: Mapping[str, float] = next((line for line in reversed(history) if "loss" in line), {})
    return {name: value for name, value in last.items() if name not in TRAINER_VALUES}
