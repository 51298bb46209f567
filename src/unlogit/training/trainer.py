"""transformers' Trainer with our log lines and safe resumption.

Of several processes (torchrun, accelerate launch) the first alone writes files.
"""

import json
import logging
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from unlogit.device import choose_dtype, on_main_process, wait_for_all, world_size
from unlogit.errors import ConfigError, nearest
from unlogit.files import write_json
from unlogit.model.positions import position_limit
from unlogit.settings.options import LoopOptions
from unlogit.terminal import duration

log = logging.getLogger(__name__)

Options = TypeVar("Options", bound=LoopOptions)

SECONDS_FILE = "seconds.json"
DTYPE_FILE = "dtype"
SETTINGS_FILE = "settings.json"
OURS = (SECONDS_FILE, DTYPE_FILE, "log.jsonl", SETTINGS_FILE)
"""What stands beside the checkpoints in their folder."""

TRAINER_VALUES = ("loss", "learning_rate", "grad_norm", "epoch", "step")
"""What the Trainer logs; all else in an entry is a term of the loss."""


class AfterEpochs(TrainerCallback):  # type: ignore[misc]
    """Calls a hook with the number of passes made, after each, with the model in evaluation mode; keeps what that took.

    It is not counted as training.
    """

    def __init__(self, hook: Callable[[int], None]) -> None:
        self.hook, self.seconds = hook, 0.0

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Look at the model as it is now."""
        started = time.monotonic()
        was_training = model.training
        model.eval()
        self.hook(round(state.epoch))
        model.train(was_training)
        self.seconds += time.monotonic() - started


class RowTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that takes its rows as they come (``training_arguments``), and logs the terms of a loss beside it."""

    def __init__(self, log_file: Path, **kwargs: Any) -> None:
        """Take what a Trainer takes."""
        super().__init__(**kwargs)
        self.terms: dict[str, list[torch.Tensor]] = {}
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.add_callback(LogLines(log_file, bar=not self.args.disable_tqdm, seconds_aside=self.seconds_aside))

    def seconds_aside(self) -> float:
        """Return the seconds between passes so far, which do not count as training."""
        callbacks = self.callback_handler.callbacks
        return sum(callback.seconds for callback in callbacks if isinstance(callback, AfterEpochs))

    def keep_terms(self, **terms: torch.Tensor) -> None:
        """Keep the terms of a step's loss, by the name that the log gives them."""
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value.detach())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each term since the last log line."""
        if "loss" in logs:
            means = {name: torch.stack(values).mean() for name, values in self.terms.items()}
            logs |= {name: self.accelerator.reduce(mean, reduction="mean").item() for name, mean in means.items()}
            self.terms = {}
        super().log(logs, start_time)


class LogLines(ProgressCallback):  # type: ignore[misc]
    """The Trainer's progress bar, with one readable line for each log entry, also kept as JSON lines."""

    def __init__(self, log_file: Path, bar: bool, seconds_aside: Callable[[], float]) -> None:
        super().__init__()
        self.log_file, self.bar, self.seconds_aside = log_file, bar, seconds_aside
        self.started, self.earlier_seconds, self.first_step = 0.0, 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drop log entries of steps that a resumed run repeats, then open the bar."""
        if not state.is_world_process_zero:
            return
        self.log_file.touch()  # a short run has no entry, but a log
        lines = self.log_file.read_text().splitlines()
        remaining = [line for line in lines if _step_of(line) <= state.global_step]
        self.log_file.write_text("".join(line + "\n" for line in remaining))
        self.started, self.first_step = time.monotonic(), state.global_step
        self.earlier_seconds = seconds_before(self.log_file.parent) if state.global_step else 0.0
        if self.bar:
            super().on_train_begin(args, state, control, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep how long training has taken, so that a resumed run can count it."""
        if not state.is_world_process_zero:
            return
        seconds = self.earlier_seconds + time.monotonic() - self.started - self.seconds_aside()
        write_json(self.log_file.parent / SECONDS_FILE, {"step": state.global_step, "seconds": seconds})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self.bar:
            super().on_step_end(args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self.bar:
            super().on_train_end(args, state, control, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print and keep one line."""
        if not state.is_world_process_zero or "train_runtime" in logs:
            return
        entry = {"step": state.global_step, **logs}
        with self.log_file.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        fields_ = [f"step {state.global_step}/{state.max_steps}"]
        shown = {"loss": "loss", **{name: name for name in logs if name not in TRAINER_VALUES}}
        shown |= {"learning_rate": "lr", "grad_norm": "grad"}
        fields_ += [f"{label} {logs[name]:.3g}" for name, label in shown.items() if name in logs]
        steps = state.global_step - self.first_step
        if steps and (remaining := state.max_steps - state.global_step):
            seconds = (time.monotonic() - self.started) / steps * remaining
            fields_.append(f"at most {duration(seconds)} left")
        line = " · ".join(fields_)
        if self.bar and self.training_bar is not None:
            self.training_bar.write(line)
        elif not self.bar:
            log.info(line)


def _step_of(line: str) -> float:
    """Return the step of a log line; of one that was cut off while being written, infinity."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def seconds_before(work: Path) -> float:
    """Return the seconds of training that stand behind the newest checkpoint of a folder; 0 where there is none."""
    path = work / SECONDS_FILE
    return float(json.loads(path.read_text())["seconds"]) if path.exists() else 0.0


class StopOnNonFinite(TrainerCallback):  # type: ignore[misc]
    """End at once when the loss is no longer a number, with the setting to change."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Look at the logged loss."""
        if logs and "loss" in logs and not math.isfinite(logs["loss"]):
            raise ConfigError(
                f"the loss is {logs['loss']} at step {state.global_step}; expected a finite number: "
                f"lower learning_rate (now {args.learning_rate:g})"
            )


def training_arguments(
    folder: Path, options: LoopOptions, steps_a_epoch: int, dtype: torch.dtype, device: torch.device, bar: bool
) -> TrainingArguments:
    """Map our options to the Trainer's, to which one item of ``Steps`` is a batch."""
    assert options.epochs is not None  # filled by ``Recipe.filled``
    total = max(1, math.ceil(options.epochs * steps_a_epoch))
    values: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 1,
        "train_sampling_strategy": "sequential",
        "max_steps": total,
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay,
        "warmup_steps": math.ceil(options.warmup_ratio * total),
        "lr_scheduler_type": "cosine",
        "max_grad_norm": options.max_grad_norm,
        "logging_steps": options.logging_steps,
        "logging_nan_inf_filter": False,
        "save_steps": options.save_steps,
        "save_total_limit": 2,
        "seed": options.seed,
        "bf16": dtype == torch.bfloat16,
        "use_cpu": device.type == "cpu",
        "report_to": [],
        "disable_tqdm": not bar,
        "remove_unused_columns": False,
        "dataloader_pin_memory": device.type == "cuda",
        "optim": "adamw_torch",
    }
    if world_size() > 1:
        values |= {"ddp_find_unused_parameters": False} | ({"ddp_backend": "gloo"} if device.type == "cpu" else {})
    try:
        arguments = TrainingArguments(**values | dict(options.training_arguments))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"training_arguments {dict(options.training_arguments)} are refused ({str(error).splitlines()[0]}); "
            "expected values that transformers.TrainingArguments takes: change them"
        ) from error
    # With several GPUs in one process the Trainer would copy the model to each, but not the views it computes with.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


FIXED_ARGUMENTS = (
    *("output_dir", "max_steps", "num_train_epochs", "per_device_train_batch_size", "auto_find_batch_size"),
    *("train_sampling_strategy", "dataloader_persistent_workers", "bf16", "fp16", "use_cpu"),
)
"""Arguments of the Trainer that follow from our own options."""
USELESS_ARGUMENTS = (
    *("eval_strategy", "do_eval", "eval_on_start", "load_best_model_at_end", "metric_for_best_model"),
    *("label_smoothing_factor", "neftune_noise_alpha"),
)
"""Those that change nothing here: no rows are evaluated in training, and the objectives compute their own losses."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def pieces_of(options: LoopOptions) -> int:
    """Return into how many batches a step is cut: processes × accumulated batches.

    Raises:
        ConfigError: ``training_arguments`` has names that the Trainer does not know, that other options set, or that
            change nothing.
    """
    arguments = options.training_arguments
    names = [field.name for field in fields(TrainingArguments) if field.init]
    if unknown := [name for name in arguments if name not in names]:
        raise ConfigError(
            f"training_arguments.{unknown[0]} is unknown{nearest(unknown[0], names)}; expected an argument of "
            "transformers.TrainingArguments: change or remove it"
        )
    if fixed := [name for name in arguments if name in FIXED_ARGUMENTS]:
        raise ConfigError(
            f"training_arguments.{fixed[0]} is given; expected it to follow from batch_size, epochs, dtype "
            "and the run's folder: change those"
        )
    if useless := [name for name in arguments if name in USELESS_ARGUMENTS]:
        raise ConfigError(
            f"training_arguments.{useless[0]} is given; expected none that evaluates while training or changes the "
            "loss of a model: remove it"
        )
    defaults = {field.name: field.default for field in fields(TrainingArguments)}
    if texts := [name for name, value in arguments.items() if isinstance(value, str) and _is_number(defaults[name])]:
        raise ConfigError(
            f"training_arguments.{texts[0]} is {arguments[texts[0]]!r}; expected a number: change it (1e-4 is written "
            "1.0e-4)"
        )
    accumulated = arguments.get("gradient_accumulation_steps", 1)
    if not isinstance(accumulated, int) or isinstance(accumulated, bool) or accumulated < 1:
        raise ConfigError(
            f"training_arguments.gradient_accumulation_steps is {accumulated!r}; expected a whole number from 1: "
            "change it"
        )
    return world_size() * accumulated


def within_positions(options: Options, model: Any) -> Options:
    """Return the options with ``max_tokens`` no larger than a model with learned positions has of them."""
    return replace(options, max_tokens=min(options.max_tokens, position_limit(model) or options.max_tokens))


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a training folder, or None.

    The Trainer writes ``trainer_state.json`` last; a checkpoint without it was cut off while being written.
    """
    checkpoints = []
    for path in folder.glob("checkpoint-*"):
        try:
            step = json.loads((path / "trainer_state.json").read_text())["global_step"]
        except (OSError, ValueError, KeyError):
            continue
        checkpoints.append((step, path))
    return max(checkpoints)[1] if checkpoints else None


def resolved_dtype(wanted: str, device: torch.device, work: Path, resuming: bool) -> torch.dtype:
    """Choose the compute type, say why, and keep it beside the checkpoints: a resumed run computes as it began."""
    path = work / DTYPE_FILE
    if resuming and path.exists():
        name, reason = path.read_text().strip(), "as it began"
    else:
        dtype, reason = choose_dtype(wanted, device)
        name = str(dtype).removeprefix("torch.")
        if on_main_process():
            path.write_text(name)
    if on_main_process():
        log.info(f"Computing in {name} on {device.type}: {reason}.")
    dtype_: torch.dtype = getattr(torch, name)
    return dtype_


def check_checkpoints(work: Path) -> None:
    """Refuse a folder of checkpoints that holds something else, which would be lost.

    Raises:
        ConfigError: it does.
    """
    ours = ("checkpoint-", *(f".{name}." for name in OURS))  # the latter are what a cut leaves of a file being written
    foreign = [path.name for path in work.glob("*") if path.name not in OURS and not path.name.startswith(ours)]
    if foreign:
        raise ConfigError(
            f"{work} holds {foreign[0]}, which is none of a training's files, and would be lost; expected checkpoints "
            "or nothing: move it, or choose another output"
        )


def checkpoints_beside(output: Path) -> Path:
    """Return the folder for the checkpoints of what will stand in ``output``."""
    return output.parent / f"{output.name}.checkpoints"


def checkpoint_folder(output: Path, resume: bool) -> tuple[Path, Path | None]:
    """Return the folder for the checkpoints of what will stand in ``output``, and the one to go on from.

    It stands beside ``output``, in ``<output>.checkpoints``, and is emptied unless there is something to resume. Its
    owner alone can read it, since an adapter in there is as secret as the forget set.
    """
    work = checkpoints_beside(output)
    check_checkpoints(work)
    checkpoint = last_checkpoint(work) if resume else None
    wait_for_all()  # before the first process empties what the others look at
    if on_main_process():
        if checkpoint is None:
            shutil.rmtree(work, ignore_errors=True)
        else:
            log.info(f"Resuming from {checkpoint}.")
        work.mkdir(parents=True, exist_ok=True)
        work.chmod(0o700)
    wait_for_all()
    return work, checkpoint


def run_training(trainer: RowTrainer, work: Path, checkpoint: Path | None, setup_seconds: float) -> dict[str, Any]:
    """Train from ``checkpoint`` on, or from the start, which took ``setup_seconds`` to prepare.

    Returns:
        ``steps`` and ``seconds``, earlier legs and ``setup_seconds`` included, these, and ``peak_memory_bytes``, of the
        GPU or of this process (0: not known).
    """
    earlier_seconds = seconds_before(work)
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = result.metrics["train_runtime"] - trainer.seconds_aside()
    if not all(bool(p.isfinite().all()) for p in trainer.model.parameters() if p.requires_grad):
        raise ConfigError(  # after the last log line, or in a run shorter than one
            "what was trained is no longer made of finite numbers; expected them: lower learning_rate "
            f"(now {trainer.args.learning_rate:g})"
        )
    return {
        "steps": trainer.state.global_step,
        "seconds": round(earlier_seconds + seconds + setup_seconds, 1),
        "setup_seconds": round(setup_seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(trainer.args.device),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory in use so far: on a GPU what PyTorch has held there, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0  # not known: the module below is not there
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
