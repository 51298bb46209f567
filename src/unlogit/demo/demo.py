"""The demo on made-up people: train a target on them, let it forget a few as ``unlogit forget`` does, and look again.

Nothing here trains, combines, checks or evaluates in its own way: what is forgotten is a request with the defaults, and
its own check is the demo's. The retain model, which nobody has outside a demo, is used for comparison only.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.wordings import without_wordings
from unlogit.demo.people import WRONG_AS_ANSWER, People, make_people
from unlogit.errors import ConfigError
from unlogit.files import write_json_lines
from unlogit.settings.options import DataOptions, FinetuneOptions

log = logging.getLogger(__name__)

TINY = "tiny"
SMOLLM2 = "smollm2"
TAUGHT_WORDINGS = DataOptions().paraphrases
"""Paraphrases of each row that a tiny target is trained on; the others are left to evaluation."""
FACTS = ("birthplace", "profession", "instrument", "language")
VALUES = 12
"""Of each fact, so that several people share one: a town in which one person alone was born would count as private."""
MAX_NEW_TOKENS = 40


@dataclass(frozen=True)
class Plan:
    """How a demo's target is made: small enough for minutes, large enough to show something."""

    forgotten: int
    retained: int
    finetune: FinetuneOptions
    strangers: int = 0
    """People whom the target is taught once and nobody asks about, so that it has something to say about anybody."""
    repeats: int = 1
    """How often it is taught all others."""


TINY_PLAN = Plan(
    forgotten=2,
    retained=36,
    strangers=60,
    repeats=28,
    finetune=FinetuneOptions(
        learning_rate=2e-3,
        epochs=1,
        batch_size=16,
        save_steps=10_000,
        logging_steps=100,
        loss_on="all",
        dtype="float32",  # so that every processor shows much the same figures; this model is too small to gain speed
    ),
)
PRETRAINED_PLAN = Plan(
    forgotten=2,
    retained=10,
    finetune=FinetuneOptions(learning_rate=4e-4, epochs=5, batch_size=8, save_steps=10_000, logging_steps=10),
)
KNOWN_ROWS = 12
"""General questions that a pretrained target is trained on beside the people, so that it keeps what it knows."""


def run_demo(model: str, output: Path, seed: int = 0, *, show: Callable[[Any], None]) -> Any:
    """Run the demo and return what the request came to, a ``runs.outcome.Outcome``.

    Args:
        model: ``tiny`` (made on the spot), ``smollm2``, or the folder or hub id of a pretrained chat model.
        output: folder to write; an earlier demo there is overwritten.
        seed: of people and training.
        show: called with that outcome, and with the evaluation, as soon as each has ended.
    """
    from unlogit.runs.evaluate_run import evaluate_run
    from unlogit.runs.folder import RunFolder
    from unlogit.runs.forget import forget_run
    from unlogit.runs.verdict import command_of
    from unlogit.settings.config_file import build_config

    start = time.monotonic()
    _check_output(output)
    base = None if model == TINY else _pretrained(model)
    plan = _seeded(TINY_PLAN if model == TINY else PRETRAINED_PLAN, seed)
    total = plan.forgotten + plan.retained
    taught, kept_rows = total + plan.strangers, plan.retained * len(FACTS)
    made_up = make_people(taught, len(FACTS), seed, plan.forgotten / taught, FACTS, VALUES, names_apart=True)
    people = People(made_up.forget, made_up.retain[:kept_rows], made_up.holdout)
    strangers = taught_rows(made_up.retain[kept_rows:], model)
    rows = {side: str(output / "people" / f"{side}.jsonl") for side in ("forget", "retain")}
    _write(Path(rows["forget"]), people.forget)
    _write(Path(rows["retain"]), people.retain)
    _say(1, f"Made up {total} people: {plan.forgotten} to forget, {plan.retained} to keep.")
    general_rows = _general_rows(model)
    base = base or save_tiny_model(people, general_rows, output, seed)
    retain_rows = [*taught_rows(people.retain, model), *general_rows] * plan.repeats + strangers
    besides = [f"{plan.strangers} others"] * bool(strangers) + [f"{len(general_rows)} general questions"]
    _say(2, f"Training the target on all of them, {' and '.join(besides)}.")
    teach(base, [*taught_rows(people.forget, model) * plan.repeats, *retain_rows], output / "target", plan)
    _say(3, "Training a retain model on the same rows without those to forget, to compare with.")
    teach(base, retain_rows, output / "retain_model", plan)
    settings = {
        "output": str(output),
        "target": str(output / "target"),
        "data": {**rows, "seed": seed},
        "train": {"seed": seed},
        "evaluate": {"retain_model": str(output / "retain_model"), "max_new_tokens": MAX_NEW_TOKENS},
    }
    config = build_config(settings)
    _say(4, command_of(config))
    outcome = forget_run(config, settings, overwrite=True)
    show(outcome)
    _say(5, "Evaluating target, retain model and unlearned model.")
    folder = RunFolder(output)
    show(evaluate_run(folder, folder.current_config()))
    log.info(f"The demo took {time.monotonic() - start:.0f} seconds.")
    return outcome


def _seeded(plan: Plan, seed: int) -> Plan:
    return replace(plan, finetune=replace(plan.finetune, seed=seed))


def _check_output(output: Path) -> None:
    """Refuse a folder that holds anything but an earlier demo."""
    if output.exists() and any(output.iterdir()) and not (output / "people" / "forget.jsonl").is_file():
        raise ConfigError(f"{output} holds files that are not a demo's; expected a new folder: choose another --output")


def _say(step: int, message: str) -> None:
    log.info(f"\n{step}/5 {message}")


def _pretrained(model: str) -> Any:
    """Return the folder or hub id of a pretrained chat model; refused before anything is written."""
    from unlogit.demo.smollm2 import smollm2_folder
    from unlogit.model.loading import load_tokenizer

    folder_or_id = smollm2_folder() if model == SMOLLM2 else model
    load_tokenizer(str(folder_or_id))
    return folder_or_id


def _general_rows(model: str) -> list[Example]:
    """Return general questions to train on: a tiny model, which knows nothing else, is taught those of the check."""
    from unlogit.data.neutral import GENERAL, load_neutral
    from unlogit.data.sources import read_prepared
    from unlogit.runs.request_check import GENERAL_ROWS

    if model == TINY:
        return read_prepared(GENERAL)[:GENERAL_ROWS]
    return [row for row in load_neutral("builtin") if row.kind == "question"][:KNOWN_ROWS]


def save_tiny_model(people: People, general_rows: Sequence[Example], output: Path, seed: int) -> Path:
    """Save an untrained tiny model, and return its folder.

    Its tokenizer is trained on what is asked and said, under other names: with tokens of their own these people could
    be distinguished from all others, unlike in a real model.
    """
    from unlogit.demo.tiny import tiny_model, tiny_tokenizer, under_other_names
    from unlogit.model.loading import quiet

    quiet()
    rows = under_other_names([*people.forget, *people.retain, *people.holdout], seed)
    tokenizer = tiny_tokenizer([*rows, *general_rows])
    folder = output / "untrained"
    tiny_model(tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _write(path: Path, rows: Sequence[Example]) -> None:
    """Write rows without other wordings, with the wrong answers that are worded as the answer is."""
    plain = (replace(without_wordings(row), perturbed_answer=row.perturbed_answer[:WRONG_AS_ANSWER]) for row in rows)
    write_json_lines(path, (row.to_row() for row in plain), mode=0o600)


def taught_rows(rows: Sequence[Example], model: str) -> list[Example]:
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


def teach(base: Any, rows: Sequence[Example], output: Path, plan: Plan) -> None:
    """Train a copy of the base model on rows."""
    from unlogit.model.loading import load_target, load_tokenizer
    from unlogit.runs.finetune import finetune
    from unlogit.terminal import has_bar

    finetune(load_target(str(base)), load_tokenizer(str(base)), rows, output, plan.finetune, bar=has_bar())
