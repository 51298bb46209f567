"""The only training loop: transformers' Trainer over the sides of a recipe.

``fit`` encodes the rows of a recipe's sides, measures what its loss needs of the untrained model, trains, and saves
what came out. It returns a summary and prints nothing but progress. It neither combines nor evaluates.

Several processes (DDP) and gradient accumulation share the rows of a step; each piece's mean counts by its part of the
step, so that the gradients are those of one process.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from unlogit.data.batches import LengthSortedSampler, TwoSidedSampler
from unlogit.data.content_words import common_words
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.data.refusals import refusal_for
from unlogit.device import choose_device, join_processes, on_main_process, wait_for_all
from unlogit.errors import ConfigError, DataError
from unlogit.files import atomic_folder, write_json
from unlogit.objectives.sides import SIDES
from unlogit.objectives.terms import Term
from unlogit.settings.options import AssistantOptions, CombinationOptions, FinetuneOptions, TrainOptions
from unlogit.training.recipe import Recipe
from unlogit.training.reference import Reference, measure_reference
from unlogit.training.rows import DealtSteps, Row, RowData, collate, predicting_positions, split_sides
from unlogit.training.trainable import Trainable
from unlogit.training.trainer import (
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

PARTNER = {"forget": "refusal", "retain": "retain_refusal"}
"""The side that holds the refusals to the questions of a side."""

Pools = Mapping[str, Sequence[Example]]
"""Rows by pool, see ``recipe.Side``."""


@dataclass(frozen=True)
class Fitted:
    """What came out of a training."""

    trained: Trainable
    summary: dict[str, Any]
    """Settings, steps, seconds, trainable parameters, terms as last logged."""


@dataclass(frozen=True)
class FitSettings:
    """What a training needs beside its recipe, model and rows."""

    options: TrainOptions | FinetuneOptions
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

    def __init__(
        self, recipe: Recipe, numbers: Mapping[str, float], reference: Reference, pieces: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.recipe, self.numbers, self.reference, self.pieces = recipe, numbers, reference, pieces
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
                terms = self.recipe.loss(sides, self.numbers)
        if trained.head is None:
            terms = self.recipe.loss(sides, self.numbers)
        shares = {name: self.share(term, inputs) for name, term in terms.items()}
        losses = [term.weight * shares[name] for name, term in terms.items()]
        loss = torch.stack(losses).sum() if len(losses) != 2 else losses[0] + losses[1]
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
        settings: of the training; None in its options is filled by ``filled_options`` beforehand.
        work_files: JSON to keep beside the checkpoints, by file name.

    Raises:
        ConfigError: a setting is out of range, or the loss is no longer finite.
        DataError: a side has no rows.
    """
    options = settings.options
    join_processes()
    device = choose_device()
    model.to(device)
    if recipe.combines:
        model.eval().requires_grad_(False)
    started = time.monotonic()
    rows, per_step = step_rows(recipe, tokenizer, pools, settings)
    sampler = step_sampler(recipe, rows, per_step, options)
    setup = time.monotonic() - started
    steps = Steps(rows, per_step, DealtSteps(sampler, rows, pieces_of(options)))
    work, checkpoint = checkpoint_folder(output, settings.resume)
    _write_work_files(work, work_files or {})
    dtype = resolved_dtype(options.dtype, device, work, resuming=checkpoint is not None)
    if recipe.combines and not recipe.needs:
        model.to(dtype)  # frozen: kept in the compute type, not cast anew in every step
    trained = recipe.make(model, settings.shape, settings.combination, options.seed).to(device)
    trainer, measuring = _trainer(recipe, trained, steps, settings, work, dtype)
    summary = {
        **with_setup(run_training(trainer, work, checkpoint), setup + measuring),
        "dtype": str(dtype).removeprefix("torch."),
        "trainable_parameters": sum(p.numel() for p in trained.parameters() if p.requires_grad),
        "rows_a_step": per_step,
        "terms": last_terms(trainer.state.log_history),
        "objective": dict(trainer.numbers),
    }
    return Fitted(trained.eval(), summary | {"work": str(work)})


@dataclass(frozen=True)
class Steps:
    """The rows of a training, how many of each pool a step takes, and their order."""

    rows: list[Row]
    per_step: dict[str, int]
    dealt: DealtSteps


def _trainer(
    recipe: Recipe, trained: Trainable, steps: Steps, settings: FitSettings, work: Path, dtype: torch.dtype
) -> tuple[FitTrainer, float]:
    """Return the trainer, and the seconds that measuring its reference values took."""
    options = settings.options
    arguments = training_arguments(
        work,
        options,
        steps_a_epoch=len(steps.dealt.sampler.step_rows()),
        row_batch=max(1, sum(steps.per_step.values()) // steps.dealt.pieces),
        dtype=dtype,
        device=choose_device(),
        bar=settings.bar,
    )
    started = time.monotonic()
    reference = _reference(recipe, trained, _referred(steps.rows, steps.dealt.sampler, arguments.max_steps), dtype)
    seconds = time.monotonic() - started
    trainer = FitTrainer(
        recipe,
        recipe.loss_numbers(options) if isinstance(options, TrainOptions) else {},
        reference,
        steps.dealt.pieces,
        sampler=steps.dealt,
        log_file=work / "log.jsonl",
        each_epoch=settings.each_epoch(trained) if settings.each_epoch else None,
        model=trained,
        args=arguments,
        train_dataset=RowData(steps.rows),
        data_collator=collate,
        callbacks=[StopOnNonFinite(), *settings.callbacks(trained)],
    )
    return trainer, seconds


def _write_work_files(work: Path, files: Mapping[str, Any]) -> None:
    if on_main_process():
        for name, value in files.items():
            write_json(work / name, value)


def _reference(recipe: Recipe, trained: Trainable, rows: Any, dtype: torch.dtype) -> Reference:
    """Measure what the loss needs of the untrained model, computing as the training will."""
    if not recipe.needs:
        return Reference()
    return measure_reference(
        trained.reference_model,
        rows,
        recipe.needs,
        frozen=trained.reference_head_frozen,
        autocast=dtype if dtype != torch.float32 else None,
    )


def save_fitted(fitted: Fitted, tokenizer: Any, output: Path, files: Mapping[str, Any] | None = None) -> None:
    """Write what was trained with its summary, its log and other JSON ``files``, and remove the checkpoints."""
    work = Path(fitted.summary.pop("work"))
    if on_main_process():
        log = (work / "log.jsonl").read_text()
        with atomic_folder(output) as folder:
            fitted.trained.save(folder, tokenizer)
            write_json(folder / "training.json", fitted.summary)
            (folder / "log.jsonl").write_text(log)
            for name, value in (files or {}).items():
                write_json(folder / name, value)
        shutil.rmtree(work)
    wait_for_all()


def filled_options(options: TrainOptions, recipe: Recipe, adapter: str, parameters: int) -> tuple[TrainOptions, str]:
    """Fill the fields at None by ``Recipe.defaults``; return the options and a sentence that says what was taken."""
    values, source = recipe.defaults(adapter, parameters)
    missing = {name: value for name, value in values.items() if getattr(options, name) is None}
    if not missing:
        return options, "All training settings were given."
    listed = ", ".join(f"{name} {value:g}" for name, value in missing.items())
    return replace(options, **missing), f"Took {source} for what was not set: {listed}."


def step_rows(recipe: Recipe, tokenizer: Any, pools: Pools, settings: FitSettings) -> tuple[list[Row], dict[str, int]]:
    """Encode the rows of every side.

    Returns:
        The rows, pool after pool, and how many of each pool a step takes.
    """
    options = settings.options
    rows: list[Row] = []
    per_step: dict[str, int] = {}
    for side in recipe.sides:
        if side.name == "uniform":
            present = {name: pools[name] for name in side.pools if pools.get(name)}
            counts = uniform_counts(options, present)
            drawn = {name: (present[name], count) for name, count in counts.items()}
        else:
            joined = [row for name in side.pools for row in pools.get(name, ())]
            drawn = {"+".join(side.pools): (joined, options.batch_size)}
        for name, (examples, count) in drawn.items():
            if not examples:
                raise DataError(f"no {name} rows; expected some on the {side.name} side: run `unlogit prepare` again")
            rows += _encoded(recipe, side.name, examples, tokenizer, pools, settings)
            per_step[name] = count
    return rows, per_step


def _encoded(
    recipe: Recipe, side: str, examples: Sequence[Example], tokenizer: Any, pools: Pools, settings: FitSettings
) -> list[Row]:
    options = settings.options
    common = None
    if side == "forget" and isinstance(options, TrainOptions) and options.common_fraction:
        common = common_words(pools["retain"], options.common_fraction)
    all_tokens = (recipe.with_questions and side == "forget") or getattr(options, "loss_on", "answer") == "all"
    rows = []
    for number, example in enumerate(examples):
        answer = encode(example, tokenizer, options.max_tokens, common)
        answer = replace(answer, prompt_tokens=1) if all_tokens else answer
        partner = None
        if PARTNER.get(side) in recipe.needs:
            partner = _refusal(side, number, example, tokenizer, settings)
        rows.append(Row(side, number, answer, partner))
    return rows


def _refusal(side: str, number: int, example: Example, tokenizer: Any, settings: FitSettings) -> Row:
    """Return the question answered by a refusal, the same one in every pass."""
    if not settings.refusals:
        raise ConfigError("the objective teaches refusals and there are none; expected some: give data.refusals")
    if example.kind == "text":
        raise DataError(
            f"the objective answers questions with refusals, and a row of the {side} side is running text; expected "
            "questions: choose an objective without refusals, as npo_gd"
        )
    refusal = refusal_for(number, settings.options.seed, settings.refusals)
    encoded = encode(replace(example, answer=refusal), tokenizer, settings.options.max_tokens)
    return Row(PARTNER[side], number, encoded)


def uniform_counts(options: Any, pools: Pools) -> dict[str, int]:
    """Rows of each uniform pool in a step: neutral and, where set, wrong answers by their shares, the others in equal
    parts, the first ones the larger.

    Returns:
        Counts above 0 that sum to ``uniform_ratio · batch_size`` (at least 1); nothing where there are no pools.
    """
    equal = [name for name in pools if name != "neutral"]
    total = max(1, round(options.batch_size * options.uniform_ratio))
    fixed = {"neutral": 0 if "neutral" not in pools else round(total * (options.neutral_fraction if equal else 1))}
    if options.perturbed_fraction is not None and "perturbed" in equal and len(equal) > 1:
        equal.remove("perturbed")
        fixed["perturbed"] = round(total * options.perturbed_fraction)
    rest = total - sum(fixed.values())
    counts = {name: len(range(i, rest, len(equal))) for i, name in enumerate(equal)} | fixed
    return {name: count for name, count in counts.items() if count}


def step_sampler(recipe: Recipe, rows: Sequence[Row], per_step: Mapping[str, int], options: Any) -> Any:
    """Return the order of the rows: passes over the forget side, or over all rows where there is one side only."""
    if isinstance(options, FinetuneOptions):
        return LengthSortedSampler([len(row.encoded.input_ids) for row in rows], options.batch_size, options.seed)
    lengths: list[list[int]] = []
    for i, row in enumerate(rows):  # pools stand one after the other, each numbered from 0
        if row.number == 0 or i == 0:
            lengths.append([])
        lengths[-1].append(len(row.encoded.input_ids))
    return TwoSidedSampler(lengths, list(per_step.values())[1:], options.batch_size, options.seed)


def _referred(rows: Sequence[Row], sampler: Any, steps: int) -> dict[str, dict[int, Any]]:
    """The rows that any step will take, by side and number."""
    drawn: set[int] = set()
    for epoch in range(math.ceil(steps / len(sampler.step_rows()))):
        sampler.set_epoch(epoch)
        drawn |= {i for step in sampler.step_rows() for i in step}
    sampler.set_epoch(0)
    by_side: dict[str, dict[int, Any]] = {side: {} for side in SIDES}
    for i in drawn:
        for row in rows[i].all():
            by_side[row.side][row.number] = row.encoded
    return by_side


def last_terms(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the terms of the loss, in nats, as last logged."""
    names = ("forget", "uniform", "retain", "answer")
    return next(({n: line[n] for n in names if n in line} for line in reversed(history) if "loss" in line), {})
