"""One step of the product's training, of ULD and of NPO+KL: all that ``step`` knows of training's internals.

``product_step`` is what is timed. It does what ``training.loop.fit`` does, without its passes, checkpoints and log.
"""

import tempfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import torch

from benchmarks.models import Setting, random_batches, random_target
from benchmarks.timing import Way
from unlogit.data.encode import Encoded
from unlogit.objectives.sides import SIDES
from unlogit.settings.options import AssistantOptions, CombinationOptions, TrainOptions
from unlogit.training.loop import FitTrainer
from unlogit.training.recipe import Recipe, recipes_of
from unlogit.training.reference import Reference, measure_reference
from unlogit.training.rows import Row, collate
from unlogit.training.trainable import Trainable
from unlogit.training.trainer import training_arguments

ROWS_A_SIDE = 8
OPTIONS = {
    "uld": TrainOptions(batch_size=ROWS_A_SIDE, learning_rate=1e-3, retain_weight=1.0, epochs=1.0),
    "npo_kl": TrainOptions(objective="npo_kl", batch_size=ROWS_A_SIDE, learning_rate=1e-5, epochs=1.0),
}
SHAPES = {"uld": "lora", "npo_kl": "full"}
"""The adapter of each: ULD trains LoRA on a quarter of the blocks, NPO+KL the whole model."""


def product_step(setting: Setting, objective: str, vocabulary: int) -> Way:
    """Return one step of a new training: a batch is put together, then forward, backward, clipping, optimiser.

    ULD's frozen target has the compute type; NPO+KL keeps its weights in float32, as AdamW needs them, under autocast.
    """
    (recipe,) = recipes_of(objective)
    options = OPTIONS[objective]
    target = random_target(setting, vocabulary, None if recipe.trains.combines else torch.float32)
    shape = AssistantOptions(num_layers=setting.branch_layers, adapter=SHAPES[objective])  # type: ignore[arg-type]
    trained = recipe.trains(target, shape, CombinationOptions(), setting.options.seed).to(setting.device)
    other_side = recipe.sides[1].name
    batches: list[list[Row]] = []
    for step, batch in enumerate(random_batches(setting, ROWS_A_SIDE, vocabulary)):
        sides = zip(("forget", other_side), batch, strict=True)
        batches.append([Row(side, step * ROWS_A_SIDE + i, row) for side, rows in sides for i, row in enumerate(rows)])
    with tempfile.TemporaryDirectory(prefix="unlogit-bench-") as folder:
        arguments = training_arguments(Path(folder), options, 1, setting.dtype, setting.device, bar=False)
        trainer = FitTrainer(
            recipe,
            options,
            _reference(setting, recipe, trained, batches),
            log_file=Path(folder) / "log.jsonl",
            model=trained,
            args=arguments,
            data_collator=collate,
        )
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # as the Trainer's own loop sets it
    parameters = [p for p in trained.parameters() if p.requires_grad]
    shares = torch.ones(len(SIDES), 2)  # of the whole step
    steps = cycle(batches)

    def run() -> None:
        batch = collate([(next(steps), shares)])
        trainer.training_step(trained, batch)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.terms = {}

    return run


def _reference(setting: Setting, recipe: Recipe, trained: Trainable, batches: Sequence[Sequence[Row]]) -> Reference:
    """Measure what the loss needs of the untrained model."""
    if not recipe.needs:
        return Reference()
    by_side: dict[str, dict[int, Encoded]] = {side.name: {} for side in recipe.sides}
    for batch in batches:
        for row in batch:
            by_side[row.side][row.number] = row.encoded
    return measure_reference(trained.reference_model, by_side, recipe.needs, setting.dtype)
