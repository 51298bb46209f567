"""What tests of training need: rows of few words or of made-up people, models that fit them, one call to train."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import tiny_target
from support.tiny_run import tiny_config
from support.tiny_run import tiny_tokenizer as people_tokenizer
from unlogit.data.examples import Example
from unlogit.settings.options import AssistantOptions, TrainOptions
from unlogit.training.loop import FitSettings, Fitted, fit, save_fitted
from unlogit.training.recipe import OBJECTIVES, Recipe

WORDS = ["who", "wrote", "the", "red", "book", "city", "five", "one", "two"]


def rows_of(*answers: str) -> list[Example]:
    """Questions of the tiny vocabulary with these answers."""
    return [Example(f"who wrote the {word} book ?", answer) for word, answer in zip(WORDS, answers, strict=False)]


ROWS: dict[str, list[Example]] = {
    "forget": rows_of("city five", "five city", "red red"),
    "retain": rows_of("one two", "two one"),
    "perturbed": rows_of("two two"),
    "neutral": [Example("one ?", "two .")],
    "holdout_retain": rows_of("one one"),
    "holdout_neutral": [Example("two ?", "one .")],
}
OPTIONS = TrainOptions(
    learning_rate=2e-2, retain_weight=1.0, epochs=40, batch_size=4, dtype="float32", save_steps=1000, logging_steps=10
)

FORGET = [Example(f"Who is person {i}?", f"A baker of {'very ' * (3 - i)}old towns.") for i in range(4)]
"""The longest first: sorted by length they stand in another order."""
RETAIN = [Example(f"Where is place {i}?", f"In county {i}.") for i in range(6)]
REFUSALS = ["I do not know.", "No idea."]
PEOPLE_ROWS = {
    "forget": FORGET,
    "retain": RETAIN,
    "perturbed": [Example(row.question, "A pilot.") for row in FORGET],
    "neutral": [Example("What is two and two?", "Four.")],
}


def people_options(objective: str, **changes: Any) -> TrainOptions:
    """Two passes of two steps, at a rate that moves a tiny model."""
    values = {"learning_rate": 1e-2, "epochs": 2, "batch_size": 2, "dtype": "float32", "logging_steps": 1}
    return TrainOptions(objective=objective, **{**values, **changes})


def people_target(seed: int = 0) -> Any:
    """A tiny Llama with the vocabulary of the made-up people's tokenizer and a tied head."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(tiny_config(tied=True)).eval()


def train(
    options: TrainOptions,
    folder: Path,
    shape: AssistantOptions | None = None,
    *,
    target: Any = None,
    rows: Mapping[str, Sequence[Example]] = ROWS,
    recipe: Recipe | None = None,
    tokenizer: Any = None,
    **settings: Any,
) -> Fitted:
    """Fit the first recipe of an objective, or the one given, to the tiny target and save it into ``folder``."""
    recipe = recipe or OBJECTIVES[options.objective][0]
    shape = shape or AssistantOptions()
    tokenizer = tokenizer or tiny_tokenizer()
    filled = recipe.filled(options, shape.adapter, 10**6)[0]
    given = FitSettings(filled, shape, **({"bar": False} | settings))
    fitted = fit(recipe, target if target is not None else tiny_target(), tokenizer, rows, folder, given)
    save_fitted(fitted, tokenizer, folder)
    return fitted


def train_people(objective: str, folder: Path, adapter: Any = "full", **changes: Any) -> tuple[Any, dict[str, Any]]:
    """Train the model of the made-up people by an objective; return what came out and its summary."""
    shape = AssistantOptions(adapter=adapter, rank=4, lora_alpha=4.0)
    fitted = train(
        people_options(objective, **changes),
        folder,
        shape,
        target=people_target(),
        rows=PEOPLE_ROWS,
        tokenizer=people_tokenizer(),
        refusals=REFUSALS,
    )
    return fitted.trained.result(), fitted.summary


def loss_of(model: Any, rows: list[Example]) -> float:
    """Mean cross-entropy of the answers, by the model's own forward."""
    from unlogit.evaluate.scoring.score import score_examples

    scores = score_examples(model, people_tokenizer(), rows, batch_size=4, generate=False)
    return sum(score.answer_loss for score in scores) / len(scores)


def without(rows: Mapping[str, Sequence[Example]], *names: str) -> dict[str, Sequence[Example]]:
    """Rows by pool, some pools empty."""
    return {name: [] if name in names else pool for name, pool in rows.items()}
