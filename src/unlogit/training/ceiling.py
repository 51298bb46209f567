"""When a training ends: its goal, its ceilings in steps and minutes, and which of them came first."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainerCallback

from unlogit.device import world_size
from unlogit.training.trainer import seconds_before

Ceiling = Literal["steps", "minutes"]
"""What ended a training that had not reached its goal."""


class Goal(TrainerCallback):  # type: ignore[misc]
    """A training's goal: stops it as soon as it is met."""

    met = False


class LastStepLogged(TrainerCallback):  # type: ignore[misc]
    """Logs the last step, so that a training of few steps is judged, too."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a log line at the end."""
        if state.global_step >= state.max_steps:
            control.should_log = True


class StopAfterMinutes(TrainerCallback):  # type: ignore[misc]
    """Stops a training that has taken too long, earlier legs included, with a checkpoint to go on from."""

    reached = False

    def __init__(self, minutes: float, work: Path) -> None:
        """Take the ceiling, above 0, and the folder of the checkpoints."""
        self.minutes, self.work = minutes, work
        self.started = self.earlier_seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started = time.monotonic()
        self.earlier_seconds = seconds_before(self.work) if state.global_step else 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the clock; of several processes all stop with the first."""
        late = self.earlier_seconds + time.monotonic() - self.started >= 60 * self.minutes
        if world_size() > 1:
            flag = torch.tensor([int(late)], device=args.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            late = bool(flag.item())
        if late and state.global_step < state.max_steps:
            self.reached = control.should_log = control.should_save = control.should_training_stop = True


def ceiling_of(callbacks: Iterable[TrainerCallback]) -> Ceiling | None:
    """Return which ceiling ended a training; None where it met its goal, or had none and made all its steps."""
    callbacks = list(callbacks)
    goals = [callback for callback in callbacks if isinstance(callback, Goal)]
    if any(goal.met for goal in goals):
        return None
    if any(isinstance(callback, StopAfterMinutes) and callback.reached for callback in callbacks):
        return "minutes"
    return "steps" if goals else None
