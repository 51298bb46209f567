"""How long a request may take: a step of training and a token of an answer, timed on its own model and rows."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unlogit.data.examples import Example
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.settings.options import RunConfig
from unlogit.terminal import duration
from unlogit.training.recipe import Recipe, recipes_of
from unlogit.training.reference import Reference
from unlogit.training.rows import collate, predicting_positions, split_sides
from unlogit.training.steps import make_steps

TIMED_TOKENS = 8
"""Tokens of an answer that are timed."""


@dataclass(frozen=True)
class Phases:
    """How much each phase of a request has to do."""

    rows: int
    ghosts: int
    ghost_batches: int
    ghost_tokens: int
    """The longest answer to a ghost."""
    steps: int
    """At most: training ends as soon as it has succeeded."""
    target_tokens: int
    """Tokens, at most, that the check asks the target for, a batch of answers at once: once for all strengths."""
    unlearned_tokens: int
    """Those that it asks the unlearned model for, at each strength."""
    strengths: int
    """How many may be tried."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one step of training (0: not known), and of one more token of a batch of answers."""

    step: float
    token: float
    unlearned_factor: float
    """How much longer the unlearned model takes than the target."""


def plan_text(phases: Phases, costs: Costs, minutes: float) -> str:
    """Return the plan of a request in words: what is done, and how long it takes at most.

    Args:
        phases: what is to be done.
        costs: what was measured.
        minutes: the ceiling of the training; 0 for none.
    """
    asking = phases.ghost_batches * phases.ghost_tokens * costs.token
    training = phases.steps * costs.step
    if minutes:
        training = min(training, 60 * minutes)
    again = costs.unlearned_factor * phases.unlearned_tokens * costs.token
    checking = phases.target_tokens * costs.token + again
    first, most = asking + training + checking, asking + training + checking + (phases.strengths - 1) * again
    lines = [
        f"Plan, with the most time that each may take: {phases.rows} rows to forget.",
        f"  ask    {phases.ghosts} questions about people who do not exist: {duration(asking)}",
        f"  train  at most {phases.steps} steps" + (f": {duration(training)}" if costs.step else ""),
        f"  check  {duration(checking)}",
        f"In all about {duration(first)}"
        + (f", or {duration(most)} if {phases.strengths} strengths have to be tried." if phases.strengths > 1 else ".")
        + (f" Training stops after {minutes:g} minutes in any case (--minutes)." if minutes else ""),
    ]
    return "\n".join(lines)


def measure_costs(target: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Example], batch_size: int) -> Costs:
    """Time a step of training and a batch of answers; rows of other sides are taken to be as long as those to forget.

    Args:
        target: in its type and place; it is frozen.
        tokenizer: the target's.
        config: the planned settings.
        rows: to forget.
        batch_size: of the answers.
    """
    target.requires_grad_(False)
    recipes = recipes_of(config.train.objective)
    step = sum(_step_seconds(recipe, target, tokenizer, config, rows) for recipe in recipes)
    depth = target.config.get_text_config().num_hidden_layers
    factor = 1 + len(recipes) * config.assistant.blocks(depth) / depth
    questions = [row for row in rows if row.kind != "text"]
    return Costs(step, _token_seconds(target, tokenizer, questions, batch_size), factor)


def _step_seconds(recipe: Recipe, target: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Example]) -> float:
    """Return the seconds of a step, forward and backward; 0 where the loss needs reference values."""
    if recipe.needs:
        return 0.0
    parameters = sum(p.numel() for p in target.parameters())
    options, _ = recipe.filled(config.train, config.assistant.adapter, parameters)
    pools = {name: rows for side in recipe.sides for name in (*side.pools, "retain")}
    steps = make_steps(recipe, tokenizer, pools, options, ())
    batch = {name: value.to(target.device) for name, value in collate([steps[0]]).items()}
    trained = recipe.trains(target, config.assistant, config.combination, options.seed).to(target.device)
    seconds = math.inf
    for _ in range(2):  # the first is slower
        start = time.monotonic()
        with torch.autocast(target.device.type, target.dtype, enabled=target.dtype == torch.bfloat16):
            keep = predicting_positions(batch["token_sides"])  # [B, T]
            outputs = trained(batch["input_ids"], batch["attention_mask"], keep)  # [N, H] or [N, V]
            sides = split_sides(outputs, batch, trained.head, Reference())
            terms = recipe.loss(sides, recipe.own_options(options))
        losses = [term.weight * term.mean for term in terms.values()]
        torch.autograd.backward(losses)
        seconds = min(seconds, time.monotonic() - start)
    return seconds


def _token_seconds(model: Any, tokenizer: Any, rows: Sequence[Example], batch_size: int) -> float:
    """Return the seconds that one more token of a batch of answers takes."""
    batch = (list(rows) * batch_size)[:batch_size]
    seconds = []
    for tokens in (1, 1 + TIMED_TOKENS):
        start = time.monotonic()
        generate_answers(model, tokenizer, batch, batch_size=batch_size, max_new_tokens=tokens)
        seconds.append(time.monotonic() - start)
    return max(0.0, seconds[1] - seconds[0]) / TIMED_TOKENS
