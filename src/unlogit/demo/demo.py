"""The demo on made-up people: train a target and a retain model, then prepare, train and evaluate as ``run`` does.

It runs the product's own steps on small numbers. Nothing here trains, combines, checks or evaluates in its own way.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.demo.people import People, make_people
from unlogit.errors import ConfigError
from unlogit.settings.options import (
    AssistantOptions,
    CombinationOptions,
    DataOptions,
    EvaluateOptions,
    FinetuneOptions,
    RunConfig,
    TrainOptions,
)

log = logging.getLogger(__name__)

TINY = "tiny"
SMOLLM2 = "smollm2"
TAUGHT_WORDINGS = DataOptions().paraphrases
"""Paraphrases of each row that a tiny target is trained on; the others are left to evaluation."""


@dataclass(frozen=True)
class Plan:
    """The numbers of a demo: small enough to run in minutes, large enough to show something."""

    forgotten: int
    retained: int
    unseen_people: int
    """People that the target is not trained on. The assistant is trained to be near-uniform on them too, so that it
    knows the forgotten people only."""
    questions: int
    known_rows: int
    """General questions that the target is trained on beside the people, so that a pretrained model keeps what it
    knows."""
    evaluation_rows: int
    finetune: FinetuneOptions
    train: TrainOptions
    assistant: AssistantOptions
    combination: CombinationOptions
    max_new_tokens: int
    cross_paraphrases: bool = False
    general: tuple[str, ...] = field(default=())
    """Questions of general knowledge that a pretrained model can answer."""


TINY_PLAN = Plan(
    forgotten=6,
    retained=24,
    unseen_people=30,
    questions=5,
    known_rows=40,
    evaluation_rows=40,
    finetune=FinetuneOptions(
        learning_rate=2e-3,
        epochs=22,
        batch_size=16,
        save_steps=10_000,
        logging_steps=100,
        loss_on="all",
        dtype="float32",  # so that every processor shows much the same figures; this model is too small to gain speed
    ),
    train=TrainOptions(
        learning_rate=3e-3,
        retain_weight=1.0,
        epochs=22,
        common_fraction=0.1,
        save_steps=10_000,
        logging_steps=50,
        dtype="float32",
    ),
    assistant=AssistantOptions(num_layers=2),
    combination=CombinationOptions(alpha=1.0, filter_rate=0.003),
    cross_paraphrases=True,
    max_new_tokens=40,
)
PRETRAINED_PLAN = Plan(
    forgotten=3,
    retained=7,
    unseen_people=30,
    questions=4,
    known_rows=12,
    evaluation_rows=12,
    finetune=FinetuneOptions(learning_rate=4e-4, epochs=5, batch_size=8, save_steps=10_000, logging_steps=10),
    train=TrainOptions(
        learning_rate=1e-3,
        retain_weight=1.0,
        epochs=16,
        batch_size=8,
        uniform_ratio=3.0,
        neutral_fraction=0.5,
        common_fraction=0.1,
        save_steps=10_000,
    ),
    assistant=AssistantOptions(num_layers=0.25, adapter="full"),
    combination=CombinationOptions(alpha=0.7),
    max_new_tokens=30,
    general=("What is the capital of France?", "What is the tallest mountain in the world?"),
)


def run_demo(model: str, output: Path, seed: int = 0, *, show: Callable[[Any], None]) -> list[tuple[str, str, str]]:
    """Run the demo; return questions with the target's and the unlearned model's answers.

    Args:
        model: ``tiny`` (made on the spot), ``smollm2``, or the folder or hub id of a pretrained chat model.
        output: folder to write; an earlier demo there is overwritten.
        seed: of people and training.
        show: called with what each step returns, as soon as it has ended.
    """
    from unlogit.data.neutral import load_neutral
    from unlogit.runs.evaluate_run import evaluate_run
    from unlogit.runs.folder import RunFolder
    from unlogit.runs.prepare import prepare_run
    from unlogit.runs.train import train_run

    start = time.monotonic()
    _check_output(output)
    base = None if model == TINY else _pretrained(model)
    plan = _seeded(TINY_PLAN if model == TINY else PRETRAINED_PLAN, seed)
    total = plan.forgotten + plan.retained + plan.unseen_people
    people = make_people(total, plan.questions, seed, plan.forgotten / total)
    people.write(output / "people")
    retained = people.retain[: plan.retained * plan.questions]
    _say(
        1,
        f"Made up {total} people: {plan.forgotten} to forget, {plan.retained} to keep, "
        f"{plan.unseen_people} that the target never sees.",
    )
    general_rows = [row for row in load_neutral("builtin") if row.kind == "question"][: plan.known_rows]
    base = base or _save_tiny_model(people, general_rows, output, seed)
    retain_rows = [*_taught_rows(retained, model), *general_rows]
    _say(2, "Training the target on the people to forget and to keep.")
    _finetune(base, [*_taught_rows(people.forget, model), *retain_rows], output / "target", plan)
    _say(3, "Training the retain model on the people to keep only.")
    _finetune(base, retain_rows, output / "retain_model", plan)
    config = _run_config(plan, output, len(retained), seed)
    folder = RunFolder(output)
    _say(4, "Training the assistant.")
    show(prepare_run(config, overwrite=True))
    show(train_run(folder, config, overwrite=True))
    _say(5, "Evaluating all three.")
    show(evaluate_run(folder, config))
    _say(6, "Asking target and unlearned model about a forgotten person, a kept person, and general knowledge.")
    replies = _ask(folder, plan, general_rows)
    log.info(f"The demo took {time.monotonic() - start:.0f} seconds.")
    return replies


def _run_config(plan: Plan, output: Path, retain_subset: int, seed: int) -> RunConfig:
    """Return the settings of the run; the target is trained on the first ``retain_subset`` retain rows only."""
    return RunConfig(
        output=str(output),
        target=str(output / "target"),
        data=DataOptions(
            forget=str(output / "people" / "forget.jsonl"),
            retain=str(output / "people" / "retain.jsonl"),
            retain_subset=retain_subset,
            evaluation_rows=plan.evaluation_rows,
            cross_paraphrases=plan.cross_paraphrases,
            seed=seed,
        ),
        train=plan.train,
        assistant=plan.assistant,
        combination=plan.combination,
        evaluate=EvaluateOptions(
            retain_model=str(output / "retain_model"), max_new_tokens=plan.max_new_tokens, batch_size=64
        ),
    )


def _seeded(plan: Plan, seed: int) -> Plan:
    return replace(plan, finetune=replace(plan.finetune, seed=seed), train=replace(plan.train, seed=seed))


def _check_output(output: Path) -> None:
    """Refuse a folder that holds anything but an earlier demo."""
    if output.exists() and any(output.iterdir()) and not (output / "people" / "forget.jsonl").is_file():
        raise ConfigError(f"{output} holds files that are not a demo's; expected a new folder: choose another --output")


def _say(step: int, message: str) -> None:
    log.info(f"\n{step}/6 {message}")


def _pretrained(model: str) -> Any:
    """Return the folder or hub id of a pretrained chat model; refused before anything is written."""
    from unlogit.demo.smollm2 import smollm2_folder
    from unlogit.model.loading import load_tokenizer

    folder_or_id = smollm2_folder() if model == SMOLLM2 else model
    load_tokenizer(str(folder_or_id))
    return folder_or_id


def _save_tiny_model(people: People, general_rows: Sequence[Example], output: Path, seed: int) -> Path:
    """Save an untrained tiny model whose tokenizer covers all rows, and return its folder."""
    from unlogit.demo.tiny import tiny_model, tiny_tokenizer
    from unlogit.model.loading import quiet

    quiet()
    rows = [*people.forget, *people.retain, *people.holdout, *general_rows]
    tokenizer = tiny_tokenizer(rows)
    folder = output / "untrained"
    tiny_model(tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _taught_rows(rows: Sequence[Example], model: str) -> list[Example]:
    """Return the rows to train on: a tiny model needs each fact in several wordings to learn it at all."""
    if model != TINY:
        return list(rows)
    return [
        Example(question, answer)
        for row in rows
        for question, answer in [
            (row.question, row.answer),
            *list(zip(row.paraphrased_question, row.paraphrased_answer, strict=True))[:TAUGHT_WORDINGS],
        ]
    ]


def _finetune(base: Any, rows: Sequence[Example], output: Path, plan: Plan) -> None:
    """Train a copy of the base model on rows."""
    from unlogit.model.loading import load_target, load_tokenizer
    from unlogit.runs.finetune import finetune
    from unlogit.terminal import has_bar

    finetune(load_target(str(base)), load_tokenizer(str(base)), rows, output, plan.finetune, bar=has_bar())


def _general_question(folder: Any, general_rows: Sequence[Example]) -> str:
    """Return a general question that the target was trained on and the assistant was not, if there is one."""
    from unlogit.data.sources import read_prepared

    held_out = {row.question for row in read_prepared(folder.data / "holdout_neutral.jsonl")}
    return next((row.question for row in general_rows if row.question in held_out), general_rows[0].question)


def _ask(folder: Any, plan: Plan, general_rows: Sequence[Example]) -> list[tuple[str, str, str]]:
    """Answer questions with target and unlearned model, side by side; those about people are evaluation rows."""
    from unlogit.data.sources import read_prepared
    from unlogit.model.loading import load_tokenizer
    from unlogit.runs.answers import ModelPair, answers

    model, tokenizer = ModelPair.load(str(folder.path), ""), load_tokenizer(str(folder.unlearned))
    people = [read_prepared(folder.data / "evaluation" / f"{side}.jsonl")[0].question for side in ("forget", "retain")]
    general = plan.general or (_general_question(folder, general_rows),)
    return answers(model, tokenizer, [*people, *general], plan.max_new_tokens)
