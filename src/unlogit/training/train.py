"""Training an assistant, one branch of an unlearned model: transformers' Trainer with the two-sided ULD objective.

Reads the prepared rows of a run folder, trains the adapter only (the target's weights are frozen and shared), measures
how flat the assistant is on rows that it never saw, and writes ``assistant/``. It neither combines nor evaluates.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from unlogit.data.batches import TwoSidedSampler, pad_rows, predicted
from unlogit.data.content_words import common_words
from unlogit.data.encode import UNIFORM_LABEL, Encoded, encode
from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.device import choose_device
from unlogit.errors import ConfigError, DataError
from unlogit.files import atomic_folder, write_json
from unlogit.model.assistant import Assistant, new_assistant
from unlogit.objectives import Kind
from unlogit.objectives.head import FrozenHead
from unlogit.objectives.uld import uld
from unlogit.settings.checks import check_train
from unlogit.settings.options import AssistantOptions, TrainOptions
from unlogit.training.branches import BRANCHES, Branch, nearest_rows
from unlogit.training.trainer import (
    EachEpoch,
    Rows,
    RowTrainer,
    StopOnNonFinite,
    checkpoint_folder,
    resolved_dtype,
    run_training,
    training_arguments,
    with_setup,
)

SMALL_MODEL_PARAMETERS = 1_000_000_000
STOP_ROWS = 100
"""Held-out retain rows that flatness is measured on after each pass, where training may stop by it."""
FLAT_ENOUGH_NATS = 0.5
"""Above this mean KL(Uniform ‖ assistant) on held-out rows, a run warns that it will damage what should be kept."""


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a run folder, by pool."""

    forget: Sequence[Example]
    retain: Sequence[Example]
    perturbed: Sequence[Example]
    neutral: Sequence[Example]
    holdout_retain: Sequence[Example]
    holdout_neutral: Sequence[Example]

    @classmethod
    def read(cls, folder: Path) -> "TrainingRows":
        """Read what ``unlogit prepare`` wrote.

        Raises:
            DataError: the folder was not prepared.
        """
        pools = {}
        for name in cls.__dataclass_fields__:
            path = folder / f"{name}.jsonl"
            if not path.exists():
                raise DataError(f"no {name}.jsonl in {folder}; expected prepared rows: run `unlogit prepare` first")
            pools[name] = read_prepared(path)
        return cls(**pools)


def collate(rows: Sequence[tuple[Encoded, bool]]) -> dict[str, Tensor]:
    """Pad the rows of both sides together, the forget side first; ``forget_side`` [B] says which is which.

    First, so that each side's logits are a slice of the batch's: picking them out would copy the largest tensor.
    """
    rows = sorted(rows, key=lambda row: not row[1])
    coded = [row for row, _ in rows]
    return {**pad_rows(coded), "forget_side": torch.tensor([side for _, side in rows])}


class AssistantTrainer(RowTrainer):
    """The two-sided objective; logs both parts."""

    def __init__(self, options: TrainOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.retain_weight = options.retain_weight or 0.0
        self.assistant: Any = kwargs["model"]
        self.head = FrozenHead(self.assistant.view)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the objective of one two-sided batch."""
        labels, counts, keep = predicted(inputs["labels"])  # [N], the forget side's first; [B]; [B, T]
        count = int(counts[inputs["forget_side"]].sum())
        with self.accelerator.autocast():  # else only the forward of what the Trainer holds has it
            hidden = self.assistant.hidden(inputs["input_ids"], inputs["attention_mask"], keep)  # [N, H]
            told = labels[:count] != UNIFORM_LABEL
            if not told.all():  # words of the forget side to be flat on
                hidden = torch.cat([hidden[:count][told], hidden[:count][~told], hidden[count:]])
                labels = labels[:count][told]
                count = len(labels)
            forget = self.head.cross_entropy(hidden[:count], labels[:count])
            flat = hidden[count:]
            uniform = self.head.uniform_excess(flat) if len(flat) else forget.new_zeros(())
        loss = uld(forget, uniform, self.retain_weight)
        self.keep_terms(forget=loss.forget, uniform=loss.uniform)
        return (loss.total, hidden) if return_outputs else loss.total


def defaults_for(
    options: TrainOptions, adapter: str, parameters: int, kind: Kind = "branches"
) -> tuple[TrainOptions, str]:
    """Fill the fields at None: the paper's settings, or below a billion parameters those that do better there.

    Args:
        options: of the training.
        adapter: ``lora`` or ``full``.
        parameters: of the target.
        kind: of the objective. What rewrites weights, or trains an offset model, has its retain weight from its own
            paper (see ``objectives.weights``); there LoRA learns at ten times the rate.

    Returns:
        The options and a sentence that says which settings were taken.
    """
    if kind != "branches":
        rate = 1e-4 if parameters < SMALL_MODEL_PARAMETERS else 1e-5
        source = "settings for models below a billion parameters" if rate == 1e-4 else "the papers' settings"
        values: dict[str, Any] = {"learning_rate": rate * (10 if adapter == "lora" else 1), "epochs": 5.0}
    elif parameters < SMALL_MODEL_PARAMETERS:
        source = "settings for models below a billion parameters"
        values = {
            "learning_rate": 2e-3 if adapter == "lora" else 1e-3,
            "retain_weight": 1.0,
            "epochs": 10.0,
        }
    else:
        source = "the paper's settings"
        values = {"learning_rate": 1e-3, "retain_weight": 6.5, "epochs": 10.0}
    missing = {name: value for name, value in values.items() if getattr(options, name) is None}
    if not missing:
        return options, "All training settings were given."
    words = ", ".join(f"{name} {value:g}" for name, value in missing.items())
    return replace(options, **missing), f"Took {source} for what was not set: {words}."


def check_rows(rows: TrainingRows) -> None:
    """Refuse a training that has one side only, before anything long begins."""
    if not rows.forget or not (rows.retain or rows.perturbed or rows.neutral):
        raise DataError("no forget rows or no uniform rows; expected both sides: run `unlogit prepare` again")


def branch_pools(
    rows: TrainingRows, branch: Branch, near: Sequence[int]
) -> tuple[list[Example], dict[str, Sequence[Example]]]:
    """Return the rows that a branch remembers, and by pool those that it is flat on; ``near`` are retain positions."""
    chosen = set(near)
    pools: dict[str, Sequence[Example]] = {
        "forget": rows.forget,
        "near": [row for i, row in enumerate(rows.retain) if i in chosen],
        "retain": [row for i, row in enumerate(rows.retain) if i not in chosen],
        "perturbed": rows.perturbed,
        "neutral": rows.neutral,
    }
    remembered = [row for name in branch.remember for row in pools[name]]
    return remembered, {name: pools[name] for name in branch.flat if pools[name]}


def uniform_shares(options: TrainOptions, pools: Mapping[str, Sequence[Example]]) -> dict[str, int]:
    """Rows of each uniform pool in a step: neutral and, where given, wrong answers by their shares, the others in equal
    parts, the first ones the larger.

    Returns:
        Counts above 0 that sum to ``uniform_ratio · batch_size`` (at least 1); nothing where there are no pools.
    """
    others = [name for name in pools if name != "neutral"]
    total = max(1, round(options.batch_size * options.uniform_ratio))
    neutral = 0 if "neutral" not in pools else round(total * (options.neutral_share if others else 1))
    given = {"neutral": neutral}
    if options.perturbed_share is not None and "perturbed" in others and len(others) > 1:
        others.remove("perturbed")
        given["perturbed"] = round(total * options.perturbed_share)
    rest = total - sum(given.values())
    shares = {name: len(range(i, rest, len(others))) for i, name in enumerate(others)} | given
    return {name: count for name, count in shares.items() if count}


def train_assistant(
    target: Any,
    tokenizer: Any,
    rows: TrainingRows,
    output: Path,
    assistant_options: AssistantOptions,
    options: TrainOptions,
    *,
    resume: bool = False,
    bar: bool = True,
    branch: Branch = BRANCHES["uld"][0],
    near: Sequence[int] | None = None,
    each_epoch: Callable[[Assistant], EachEpoch] | None = None,
) -> tuple[Assistant, dict[str, Any]]:
    """Train an assistant for ``target`` and save it into ``output``.

    Checkpoints stand beside ``output``, in ``<output>.checkpoints``, until the run has ended well. With ``resume`` the
    run goes on from the newest complete one; on a CPU it then ends with the same adapter, bit for bit.

    Args:
        target: frozen here; the assistant shares its weights.
        tokenizer: the target's.
        rows: of the run.
        output: folder of the assistant.
        assistant_options: its shape.
        options: of the training.
        resume: see above.
        bar: show a progress bar.
        branch: what this assistant remembers and where it is flat.
        near: positions of the retain rows that are near, where it needs them; None: they are looked for.
        each_epoch: given the assistant in training, returns what is called after each pass.

    Returns:
        The assistant and a summary: settings, steps, seconds, trainable parameters, flatness on held-out rows.
    """
    check_train(options)
    check_rows(rows)
    device = choose_device()
    target.to(device).eval().requires_grad_(False)
    parameters = sum(p.numel() for p in target.parameters())
    options, note = defaults_for(options, assistant_options.adapter, parameters)
    print(note, flush=True)
    began = time.monotonic()
    pools, shares = _encoded_pools(target, tokenizer, rows, branch, options, near)
    setup = time.monotonic() - began
    sampler = TwoSidedSampler(
        [[len(row.input_ids) for row in pool] for pool in pools],
        list(shares.values()),
        options.batch_size,
        options.seed,
    )
    work, checkpoint = checkpoint_folder(output, resume)
    dtype = resolved_dtype(options.dtype, device, work, resuming=checkpoint is not None)
    target.to(dtype)  # frozen: kept in the compute type, not cast anew in every step
    torch.manual_seed(options.seed)
    assistant = new_assistant(target, assistant_options, target.name_or_path)
    data = [(row, pool == 0) for pool, coded in enumerate(pools) for row in coded]
    arguments = training_arguments(
        work,
        options,
        steps_a_epoch=sampler.steps,
        row_batch=options.batch_size + sum(shares.values()),
        dtype=dtype,
        device=device,
        bar=bar,
    )
    trainer = AssistantTrainer(
        options,
        sampler=sampler,
        log_file=work / "log.jsonl",
        each_epoch=each_epoch(assistant) if each_epoch else None,
        model=assistant,
        args=arguments,
        train_dataset=Rows(data),
        data_collator=collate,
        callbacks=[StopOnNonFinite()],
    )
    if options.stop_flatness:
        trainer.add_callback(StopWhenFlat(assistant, tokenizer, rows, options))
    taken = with_setup(run_training(trainer, work, checkpoint), setup)
    flat = flatness(assistant.eval(), tokenizer, rows, options.max_tokens) if shares else {}
    summary = {
        **taken,
        "dtype": str(dtype).removeprefix("torch."),
        "trainable_parameters": sum(p.numel() for p in assistant.parameters()),
        "rows_a_step": {"+".join(branch.remember): options.batch_size, **shares},
        "forget_nats": _last_forget_loss(trainer.state.log_history),
        "chance_nats": math.log(target.get_output_embeddings().weight.shape[0]),
        "flatness_nats": flat,
        "flatness_rows": {name: len(getattr(rows, name)) for name in flat},
        "assistant": asdict(assistant_options),
        "train": asdict(options),
    }
    _save(assistant, summary, work, output)
    return assistant, summary


class StopWhenFlat(TrainerCallback):  # type: ignore[misc]
    """Stops after the pass that leaves an assistant that has learnt as flat as is asked for on held-out retain rows.

    Untrained it is flat as well: until its forget term, as last logged, is below half of log V, it goes on.
    """

    def __init__(self, assistant: Assistant, tokenizer: Any, rows: TrainingRows, options: TrainOptions) -> None:
        if not rows.holdout_retain:
            raise ConfigError(
                "stop_flatness is given and no retain rows are held out; expected some to measure it on: prepare with "
                "a holdout_share above 0, or leave it out"
            )
        self.assistant, self.tokenizer, self.options = assistant, tokenizer, options
        self.rows = replace(rows, holdout_retain=rows.holdout_retain[:STOP_ROWS], holdout_neutral=())

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure, and say that training shall stop."""
        view: Any = self.assistant.view
        chance = math.log(view.get_output_embeddings().weight.shape[0])
        if not has_learnt(_last_forget_loss(state.log_history), chance):
            return
        was_training = self.assistant.training
        value = flatness(self.assistant.eval(), self.tokenizer, self.rows, self.options.max_tokens)["holdout_retain"]
        self.assistant.train(was_training)
        if value <= self.options.stop_flatness:
            print(f"Stopped after pass {round(state.epoch)}: {value:.3f} nats from flat on held-out retain rows.")
            control.should_training_stop = True


def near_rows(target: Any, tokenizer: Any, rows: TrainingRows, options: TrainOptions) -> list[int]:
    """Return the positions of the retain rows nearest to the forget side, ``near_share`` of its rows."""
    count = round(options.near_share * len(rows.forget))
    return nearest_rows(target, tokenizer, rows.forget, rows.retain, count, options.max_tokens)


def _encoded_pools(
    target: Any,
    tokenizer: Any,
    rows: TrainingRows,
    branch: Branch,
    options: TrainOptions,
    near: Sequence[int] | None,
) -> tuple[list[list[Encoded]], dict[str, int]]:
    """Return the pools of a branch, the one that it remembers first, and how many rows of each other a step takes."""
    if near is None:
        near = near_rows(target, tokenizer, rows, options) if "near" in (*branch.remember, *branch.flat) else ()
    remembered, flat = branch_pools(rows, branch, near)
    shares = uniform_shares(options, flat)
    pools = (remembered, *(flat[name] for name in shares))
    common = common_words(rows.retain, options.common_share) if options.common_share else None
    words = [common, *[None] * len(shares)]  # of the remembered rows only
    coded = [
        [encode(example, tokenizer, options.max_tokens, known) for example in pool]
        for pool, known in zip(pools, words, strict=True)
    ]
    return coded, shares


def _save(assistant: Assistant, summary: dict[str, Any], work: Path, output: Path) -> None:
    """Write the assistant with its summary and log, then remove the folder of checkpoints."""
    log = (work / "log.jsonl").read_text()
    with atomic_folder(output) as folder:
        assistant.save(folder)
        write_json(folder / "training.json", summary)
        (folder / "log.jsonl").write_text(log)
    shutil.rmtree(work)


@torch.inference_mode()
def flatness(assistant: Assistant, tokenizer: Any, rows: TrainingRows, max_tokens: int) -> dict[str, float]:
    """Mean KL(Uniform ‖ assistant) in nats an answer token on held-out retain and neutral rows; 0 is flat."""
    values = {}
    device = next(assistant.parameters()).device
    head = FrozenHead(assistant.view)
    for name in ("holdout_retain", "holdout_neutral"):
        coded = [encode(example, tokenizer, max_tokens) for example in getattr(rows, name)]
        coded.sort(key=lambda row: len(row.input_ids))
        total, count = 0.0, 0
        for begin in range(0, len(coded), 16):
            batch = {k: v.to(device) for k, v in pad_rows(coded[begin : begin + 16]).items()}
            _, _, keep = predicted(batch["labels"])
            hidden = assistant.hidden(batch["input_ids"], batch["attention_mask"], keep)  # [N, H]
            total, count = total + head.uniform_excess(hidden).item() * len(hidden), count + len(hidden)
        if count:
            values[name] = total / count
    return values


def _last_forget_loss(history: Sequence[Mapping[str, float]]) -> float | None:
    """Return the forget term, in nats a token, as last logged."""
    terms = [line["forget"] for line in history if "forget" in line]
    return terms[-1] if terms else None


def has_learnt(forget_nats: float | None, chance_nats: float) -> bool:
    """Whether an assistant's forget term is below half of log V, which it is untrained."""
    return forget_nats is not None and forget_nats <= chance_nats / 2


def learning_warning(forget_nats: float | None, chance_nats: float) -> str | None:
    """Return a sentence when the assistant has hardly learnt what it is to remember, else None."""
    if forget_nats is None or has_learnt(forget_nats, chance_nats):
        return None
    return (
        f"the assistant has hardly learnt what it is to remember: {forget_nats:.1f} nats a token ({chance_nats:.1f} "
        f"before training, expected at most {chance_nats / 2:.1f}), and so hardly anything will be forgotten. Train "
        "longer (epochs) or faster (learning_rate)."
    )


def flatness_warning(values: dict[str, float]) -> str | None:
    """Return a sentence when the assistant is far from flat where it should be, else None."""
    bad = {name.removeprefix("holdout_"): value for name, value in values.items() if not value <= FLAT_ENOUGH_NATS}
    if not bad:
        return None
    words = " and ".join(f"{value:.2f} nats on held-out {name} rows" for name, value in bad.items())
    return (
        f"the assistant is not flat: {words} (expected at most {FLAT_ENOUGH_NATS}): the unlearned model will lose what "
        "it should keep. Train longer, take more rows to keep in a step (uniform_ratio), give more of them, or raise "
        "retain_weight."
    )
