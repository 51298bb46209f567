"""One step of the product's training, of ULD and of NPO+KL: all that the benchmarks know of training's internals.

``product_step`` is what ``step`` times. When training changes, this file follows and no other.
"""

import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.models import Setting, random_batches, random_target
from benchmarks.timing import Way
from unlogit.data.encode import Encoded
from unlogit.model.assistant import new_assistant
from unlogit.model.decoder import answer_logits
from unlogit.objectives.weights import WEIGHT_OBJECTIVES
from unlogit.settings.options import AssistantOptions, TrainOptions
from unlogit.training import rewrite, train
from unlogit.training.reference import measure_reference
from unlogit.training.rewrite import with_lora as with_lora
from unlogit.training.trainer import Rows, training_arguments

ROWS_A_SIDE = 8


def product_step(setting: Setting, objective: str, vocabulary: int) -> Way:
    """Return one step of a new training: a batch is put together, then forward, backward, clipping, optimiser."""
    trainer, next_batch = {"uld": _uld, "npo_kl": _npo_kl}[objective](setting, vocabulary)
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # as the Trainer's own loop sets it
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]

    def run() -> None:
        trainer.training_step(trainer.model, next_batch())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.terms = {}

    return run


TrainerAndBatches = tuple[Any, Callable[[], dict[str, Any]]]


def _uld(setting: Setting, vocabulary: int) -> TrainerAndBatches:
    """An assistant on a quarter of the blocks, LoRA on all of them, the target frozen in the compute type."""
    target = random_target(setting, vocabulary)
    assistant = new_assistant(target, AssistantOptions(num_layers=setting.branch_layers), "random").to(setting.device)
    options = TrainOptions(batch_size=ROWS_A_SIDE, learning_rate=1e-3, retain_weight=1.0, epochs=1.0)
    trainer = train.AssistantTrainer(options, model=assistant, **_trainer_arguments(setting, options))
    batches = cycle(random_batches(setting, ROWS_A_SIDE, vocabulary))

    def next_batch() -> dict[str, Any]:
        forget_rows, retain_rows = next(batches)
        return train.collate([(row, True) for row in forget_rows] + [(row, False) for row in retain_rows])

    return trainer, next_batch


def _npo_kl(setting: Setting, vocabulary: int) -> TrainerAndBatches:
    """The whole model, its weights in float32 as AdamW needs them, under autocast in the compute type."""
    model = random_target(setting, vocabulary, torch.float32).requires_grad_(True)
    objective = WEIGHT_OBJECTIVES["npo_kl"]
    options = TrainOptions(objective="npo_kl", batch_size=ROWS_A_SIDE, learning_rate=1e-5, epochs=1.0)
    steps = [
        [
            rewrite.Item(pool, step * ROWS_A_SIDE + i, row, None)
            for pool, rows in zip(("forget", "retain"), batch, strict=True)
            for i, row in enumerate(rows)
        ]
        for step, batch in enumerate(random_batches(setting, ROWS_A_SIDE, vocabulary))
    ]
    sides: dict[str, dict[int, Encoded]] = {"forget": {}, "retain": {}}
    for item in (item for items in steps for item in items):
        sides[item.pool][item.number] = item.answer
    autocast = setting.dtype if setting.dtype != torch.float32 else None
    reference = measure_reference(model, sides, objective.needs, frozen=False, autocast=autocast)

    def predict(_: Any, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        return answer_logits(model, input_ids, attention_mask, keep)

    numbers = rewrite.loss_numbers(objective, options)
    arguments = _trainer_arguments(setting, options)
    trainer = rewrite.SidesTrainer(objective, numbers, predict, reference, model=model, **arguments)
    batches = cycle(steps)
    return trainer, lambda: rewrite.collate(next(batches))


def _trainer_arguments(setting: Setting, options: TrainOptions) -> dict[str, Any]:
    """What both trainers take, with nothing to go through and nothing to write."""
    folder = Path(tempfile.mkdtemp(prefix="unlogit-bench-"))
    arguments = training_arguments(
        folder, options, steps_a_epoch=1, row_batch=1, dtype=setting.dtype, device=setting.device, bar=False
    )
    folder.rmdir()
    return {"sampler": range(1), "log_file": folder / "log.jsonl", "args": arguments, "train_dataset": Rows([None])}
