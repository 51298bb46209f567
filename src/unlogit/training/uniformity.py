"""How far an assistant is from uniform on rows that it never saw: measured, warned about, stopped by.

KL(Uniform ‖ assistant) in nats a token, 0 where the assistant knows nothing (``objectives.kl``). Also here: whether an
assistant has learnt what it is to remember.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unlogit.data.batches import answer_positions, pad_rows
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.errors import ConfigError
from unlogit.model.assistant import Assistant
from unlogit.objectives.head import FrozenHead
from unlogit.settings.options import TrainOptions
from unlogit.training.ceiling import Goal

log = logging.getLogger(__name__)

STOP_ROWS = 100
"""Held-out rows of a pool that are measured at a log line, where training may stop by them."""

UNIFORM_ENOUGH_NATS = 0.5
"""Above this mean KL from uniform on held-out rows, a run warns that it will damage what should be kept."""

ROWS_AT_ONCE = 16


@torch.inference_mode()
def kl_from_uniform(assistant: Assistant, tokenizer: Any, rows: Sequence[Example], max_tokens: int) -> float | None:
    """Mean KL(Uniform ‖ assistant) in nats an answer token; None without rows."""
    device = next(assistant.parameters()).device
    head = FrozenHead(assistant.view)
    encoded = sorted((encode(row, tokenizer, max_tokens) for row in rows), key=lambda row: len(row.input_ids))
    total, count = 0.0, 0
    for start in range(0, len(encoded), ROWS_AT_ONCE):
        batch_rows = encoded[start : start + ROWS_AT_ONCE]
        batch = {k: v.to(device) for k, v in pad_rows(batch_rows).items()}
        keep = answer_positions(batch_rows).to(device)  # [B, T]
        hidden = assistant.hidden(batch["input_ids"], batch["attention_mask"], keep)  # [N, H]
        total, count = total + head.uniform_kl(hidden).item() * len(hidden), count + len(hidden)
    return total / count if count else None


def held_out_kl(
    assistant: Assistant, tokenizer: Any, pools: Mapping[str, Sequence[Example]], max_tokens: int
) -> dict[str, float]:
    """``kl_from_uniform`` of each held-out pool that has rows."""
    values = {name: kl_from_uniform(assistant, tokenizer, rows, max_tokens) for name, rows in pools.items()}
    return {name: value for name, value in values.items() if value is not None}


class StopWhenUniform(Goal):
    """Stops at the log line that finds an assistant that has learnt as near to uniform as is asked for.

    Untrained it is near, too: until its forget term is at most ``stop_forget_nats``, it goes on.
    """

    def __init__(
        self,
        assistant: Assistant,
        tokenizer: Any,
        pools: Mapping[str, Sequence[Example]],
        options: TrainOptions,
    ) -> None:
        """Take held-out rows by pool, and ``stop_uniform_kl`` and ``stop_forget_nats`` of the options."""
        if not pools.get("holdout_retain"):
            raise ConfigError(
                "stop_uniform_kl is given and no retain rows are held out; expected some to measure it on: prepare "
                "with a holdout_fraction above 0, or leave it out"
            )
        self.assistant, self.tokenizer, self.options = assistant, tokenizer, options
        self.pools = {name: rows[:STOP_ROWS] for name, rows in pools.items()}
        self.forget_nats = options.stop_forget_nats or chance_nats(assistant) / 2

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Measure where the forget term of the steps just logged is low, and say that training shall stop."""
        if not logs or logs.get("forget", math.inf) > self.forget_nats:
            return
        was_training = self.assistant.training
        values = held_out_kl(self.assistant.eval(), self.tokenizer, self.pools, self.options.max_tokens)
        self.assistant.train(was_training)
        if all(value <= self.options.stop_uniform_kl for value in values.values()):
            listed = ", ".join(f"{value:.3f} nats on {name.removeprefix('holdout_')}" for name, value in values.items())
            log.info(f"Stopped at step {state.global_step}: learnt, and KL from uniform is {listed} rows held out.")
            self.met = control.should_training_stop = True


def chance_nats(assistant: Assistant) -> float:
    """Return log V, the forget term of an assistant that knows nothing."""
    view: Any = assistant.view
    return math.log(view.get_output_embeddings().weight.shape[0])


def last_forget_nats(history: Sequence[Mapping[str, float]]) -> float | None:
    """Return the forget term, in nats a token, as last logged."""
    return next((line["forget"] for line in reversed(history) if "forget" in line), None)


def has_learnt(forget_nats: float | None, chance: float) -> bool:
    """Whether an assistant's forget term is below half of log V, which it is untrained."""
    return forget_nats is not None and forget_nats <= chance / 2


def learning_warning(forget_nats: float | None, chance: float) -> str | None:
    """Return a sentence when the assistant has hardly learnt what it is to remember, else None."""
    if forget_nats is None or has_learnt(forget_nats, chance):
        return None
    return (
        f"the assistant has hardly learnt what it is to remember: {forget_nats:.1f} nats a token ({chance:.1f} before "
        f"training, expected at most {chance / 2:.1f}), so hardly anything will be forgotten: train longer (epochs) "
        "or faster (learning_rate)"
    )


def uniform_warning(values: Mapping[str, float]) -> str | None:
    """Return a sentence when the assistant is far from uniform where it should not be, else None."""
    far = {name.removeprefix("holdout_"): v for name, v in values.items() if not v <= UNIFORM_ENOUGH_NATS}
    if not far:
        return None
    listed = " and ".join(f"{value:.2f} nats on held-out {name} rows" for name, value in far.items())
    return (
        f"the assistant is far from uniform: {listed} (expected at most {UNIFORM_ENOUGH_NATS}), so the unlearned model "
        "will lose what it should keep: train longer, take more rows to keep in a step (uniform_ratio), give more of "
        "them, or raise retain_weight"
    )
