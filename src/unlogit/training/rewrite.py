"""Training by an objective of ``objectives.weights``: the target's own weights, or an offset model beside it.

* **Rewritten**: a loaded copy of the target is trained, whole or by LoRA (peft, merged at the end), and becomes the
  unlearned model: an ordinary model without branches.
* **Offset** (δ-unlearning, Huang et al., arXiv 2404.11045): the loss is taken on the combined distribution
  ``z_target + alpha · (z_offset − z_offset at its start)``; gradients go into the offset model alone. Here the offset
  model is an assistant, the target's first blocks. What comes out is an unlearned model of two branches.

Each step takes ``batch_size`` forget rows, as many retain rows where the objective has a retain term, and the refusals
that belong to them. Reference values are measured before the first step.

Shape legend: B rows, T tokens, N predicted tokens, H hidden, V vocabulary.
"""

import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlogit.data.batches import TwoSidedSampler, pad_rows, predicted
from unlogit.data.encode import Encoded, encode
from unlogit.data.examples import Example
from unlogit.data.refusals import refusal_for
from unlogit.device import choose_device
from unlogit.errors import ConfigError, DataError
from unlogit.files import atomic_folder, write_json
from unlogit.model.assistant import Assistant, new_assistant
from unlogit.model.decoder import answer_logits
from unlogit.model.logit_difference import combine_logits
from unlogit.objectives.sides import Answers, Sides
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES, Objective
from unlogit.settings.checks import check_train
from unlogit.settings.options import AssistantOptions, CombinationOptions, TrainOptions
from unlogit.training.reference import Reference, measure_reference
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

SIDES = ("forget", "refusal", "retain", "retain_refusal")
"""The sides of a step in the order of its rows."""

REFUSAL_OF = {"forget": "refusal", "retain": "retain_refusal"}
"""The side that holds the refusals to the questions of a pool."""

Predict = Callable[[Any, Tensor, Tensor, Tensor], Tensor]
"""(what is trained, input_ids [B, T], attention_mask [B, T], keep [B, T]) → logits [N, V] of the unlearned model."""


@dataclass(frozen=True)
class Item:
    """One row of a pool, with its refusal where the objective asks for it."""

    pool: str
    number: int
    answer: Encoded
    refusal: Encoded | None


def make_items(
    pool: str,
    examples: Sequence[Example],
    tokenizer: Any,
    objective: Objective,
    options: TrainOptions,
    refusals: Sequence[str],
) -> list[Item]:
    """Encode the rows of a pool; the refusal to a question is the same one in every pass."""
    items = []
    for number, example in enumerate(examples):
        answer = encode(example, tokenizer, options.max_tokens)
        if objective.with_questions and pool == "forget":
            answer = replace(answer, prompt_tokens=1)
        refusal = None
        if REFUSAL_OF[pool] in objective.needs:
            if example.kind == "text":
                raise DataError(
                    f"the objective {options.objective} answers questions with refusals, and a row to "
                    f"{pool} is running text; expected questions: choose an objective without refusals, as npo_gd"
                )
            words = refusal_for(number, options.seed, refusals)
            refusal = encode(replace(example, answer=words), tokenizer, options.max_tokens)
        items.append(Item(pool, number, answer, refusal))
    return items


def collate(items: Sequence[Item]) -> dict[str, Any]:
    """Pad the rows of all sides together, side after side; ``numbers`` says which rows of which side they are."""
    rows: list[Encoded] = []
    numbers: dict[str, list[int]] = {}
    for side in SIDES:
        pool = "forget" if side in ("forget", "refusal") else "retain"
        own = [item for item in items if item.pool == pool]
        found = [(item.number, item.answer if side == pool else item.refusal) for item in own]
        numbers[side] = [number for number, row in found if row is not None]
        rows += [row for _, row in found if row is not None]
    return {**pad_rows(rows), "numbers": numbers}


class SidesTrainer(RowTrainer):
    """A loss on the sides of a step; logs the forget and the retain term."""

    def __init__(
        self,
        objective: Objective,
        numbers: Mapping[str, float],
        predict: Predict,
        reference: Reference,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.objective, self.numbers, self.predict, self.reference = objective, numbers, predict, reference

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the objective of one step."""
        labels, counts, keep = predicted(inputs["labels"])  # [N]; [B]; [B, T]
        with self.accelerator.autocast():  # else only the forward of what the Trainer holds has it
            logits = self.predict(model, inputs["input_ids"], inputs["attention_mask"], keep)  # [N, V]
        loss = self.objective.loss(self._sides(logits, labels, counts, inputs["numbers"]), **self.numbers)
        self.keep_terms(forget=loss.forget, retain=loss.retain)
        return (loss.total, logits) if return_outputs else loss.total

    def _sides(self, logits: Tensor, labels: Tensor, counts: Tensor, numbers: Mapping[str, Sequence[int]]) -> Sides:
        found: dict[str, Answers] = {}
        row = token = 0
        for side in SIDES:
            own = numbers[side]
            if not own:
                continue
            own_counts = counts[row : row + len(own)]
            size = int(own_counts.sum())
            nll = self.reference.nll_of(side, own)
            found[side] = Answers(
                logits[token : token + size],
                labels[token : token + size],
                torch.repeat_interleave(torch.arange(len(own), device=labels.device), own_counts),
                self.reference.logits_of(side, own, logits.device),
                None if nll is None else nll.to(logits.device),
            )
            row, token = row + len(own), token + size
        return Sides(**found)


def loss_numbers(objective: Objective, options: TrainOptions) -> dict[str, float]:
    """Return weights, beta and gamma: those of the options, where not given those of the objective's paper."""
    names = ("forget_weight", "retain_weight", "beta", "gamma")
    return {n: getattr(objective, n) if getattr(options, n) is None else getattr(options, n) for n in names}


def rewrite_model(
    model: Any,
    tokenizer: Any,
    forget: Sequence[Example],
    retain: Sequence[Example],
    refusals: Sequence[str],
    output: Path,
    assistant_options: AssistantOptions,
    options: TrainOptions,
    *,
    resume: bool = False,
    bar: bool = True,
    each_epoch: Callable[[Any], EachEpoch] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Train a copy of the target that is loaded already, in place, and save it with its tokenizer into ``output``.

    With ``adapter: lora`` deltas on every linear layer are trained and merged at the end.

    Args:
        each_epoch: given the model in training, returns what is called after each pass.

    Returns:
        The rewritten model and a summary: settings, steps, seconds, trainable parameters, peak memory.
    """
    objective = WEIGHT_OBJECTIVES[options.objective]
    trained = with_lora(model, assistant_options, options.seed) if assistant_options.adapter == "lora" else model
    if trained is model:
        model.requires_grad_(True)

    def predict(_: Any, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """The model alone; what the Trainer holds may be its wrapper."""
        return answer_logits(model, input_ids, attention_mask, keep)

    hook = each_epoch(model) if each_epoch else None
    training = _Training(objective, tokenizer, forget, retain, refusals, output, options, resume, bar, hook)
    summary = training.run(trained, model, predict, frozen=assistant_options.adapter == "lora")
    model = trained.merge_and_unload() if trained is not model else model
    model.eval().requires_grad_(False)
    summary |= {"assistant": asdict(assistant_options), "train": asdict(options)}
    with atomic_folder(output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        training.keep(folder, summary)
    shutil.rmtree(training.work)
    return model, summary


def with_lora(model: Any, shape: AssistantOptions, seed: int) -> Any:
    """Return the model with deltas on every linear layer but the head, wrapped by peft; the deltas alone train."""
    import peft

    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=shape.rank,
        lora_alpha=shape.lora_alpha,  # type: ignore[arg-type]
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for what has a new name
        return peft.get_peft_model(model, config)


def train_offset(
    target: Any,
    tokenizer: Any,
    forget: Sequence[Example],
    retain: Sequence[Example],
    refusals: Sequence[str],
    output: Path,
    assistant_options: AssistantOptions,
    options: TrainOptions,
    combination: CombinationOptions,
    *,
    resume: bool = False,
    bar: bool = True,
    each_epoch: Callable[[list[Assistant]], EachEpoch] | None = None,
) -> tuple[list[Assistant], dict[str, Any]]:
    """Train an offset model beside a frozen target, and save it into ``output``.

    Returns:
        [the offset model, the same at its start], whose weights in the combination are −1 and 1, and a summary.
    """
    objective = OFFSET_OBJECTIVES[options.objective]
    offset, start = new_offset(target, assistant_options, options.seed)

    def predict(trained: Any, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """The target's logits and what the offset model has learnt."""
        with torch.no_grad():
            before = [answer_logits(one, input_ids, attention_mask, keep) for one in (target, start.view)]
        after = trained(input_ids, attention_mask, keep)
        return combine_logits(
            before[0].float(),
            [after, before[1]],
            OFFSET_WEIGHTS,
            rule=combination.rule,
            alpha=combination.alpha,
            filter_rate=combination.filter_rate,
        )

    hook = each_epoch([offset, start]) if each_epoch else None
    training = _Training(objective, tokenizer, forget, retain, refusals, output, options, resume, bar, hook)
    summary = training.run(offset, target, predict, frozen=True)
    summary |= {"assistant": asdict(assistant_options), "train": asdict(options)}
    with atomic_folder(output) as folder:
        offset.save(folder)
        training.keep(folder, summary)
    shutil.rmtree(training.work)
    return [offset.eval(), start], summary


def new_offset(target: Any, options: AssistantOptions, seed: int) -> tuple[Assistant, Assistant]:
    """Return an untrained offset model and the same at its start, frozen as the target is."""
    target.to(choose_device()).eval().requires_grad_(False)
    torch.manual_seed(seed)
    offset, start = (new_assistant(target, options, target.name_or_path) for _ in range(2))
    start.load_state_dict(offset.state_dict())
    return offset, start.eval().requires_grad_(False)


OFFSET_WEIGHTS = (-1.0, 1.0)
"""Weights of the offset model and of the same at its start: what it has learnt is added to the target's logits."""


@dataclass
class _Training:
    """What both ways to train have in common."""

    objective: Objective
    tokenizer: Any
    forget: Sequence[Example]
    retain: Sequence[Example]
    refusals: Sequence[str]
    output: Path
    options: TrainOptions
    resume: bool
    bar: bool
    each_epoch: EachEpoch | None
    work: Path = Path()

    def run(self, trained: Any, lm: Any, predict: Predict, *, frozen: bool) -> dict[str, Any]:
        """Train ``trained``; ``lm`` is the reference before the first step."""
        options = self.options
        check_train(options)
        items = self._items()
        device = choose_device()
        trained.to(device)
        self.work, checkpoint = checkpoint_folder(self.output, self.resume)
        dtype = resolved_dtype(options.dtype, device, self.work, resuming=checkpoint is not None)
        pools = ["forget", "retain"] if "retain" in self.objective.needs else ["forget"]
        sampler = TwoSidedSampler(
            [[len(item.answer.input_ids) for item in items if item.pool == pool] for pool in pools],
            [options.batch_size] * (len(pools) - 1),
            options.batch_size,
            options.seed,
        )
        arguments = training_arguments(
            self.work,
            options,
            steps_a_epoch=sampler.steps,
            row_batch=len(pools) * options.batch_size,
            dtype=dtype,
            device=device,
            bar=self.bar,
        )
        began = time.monotonic()
        reference = measure_reference(
            lm,
            self._referred(items, sampler, arguments.max_steps),
            self.objective.needs,
            frozen=frozen,
            autocast=dtype if dtype != torch.float32 else None,
        )
        setup = time.monotonic() - began
        numbers = loss_numbers(self.objective, options)
        print(f"Training by {options.objective}: " + ", ".join(f"{n} {v:g}" for n, v in numbers.items()), flush=True)
        trainer = SidesTrainer(
            self.objective,
            numbers,
            predict,
            reference,
            sampler=sampler,
            log_file=self.work / "log.jsonl",
            each_epoch=self.each_epoch,
            model=trained,
            args=arguments,
            train_dataset=Rows(items),
            data_collator=collate,
            callbacks=[StopOnNonFinite()],
        )
        taken = with_setup(run_training(trainer, self.work, checkpoint), setup)
        return {
            **taken,
            "dtype": str(dtype).removeprefix("torch."),
            "trainable_parameters": sum(p.numel() for p in trained.parameters() if p.requires_grad),
            "rows_a_step": dict.fromkeys(pools, options.batch_size),
            "objective": numbers,
        }

    def keep(self, folder: Path, summary: dict[str, Any]) -> None:
        """Write the summary and the log beside what was trained."""
        write_json(folder / "training.json", summary)
        (folder / "log.jsonl").write_text((self.work / "log.jsonl").read_text())

    def _items(self) -> list[Item]:
        if not self.forget or ("retain" in self.objective.needs and not self.retain):
            raise DataError("no forget rows or no retain rows; expected both sides: run `unlogit prepare` again")
        if not self.refusals and {"refusal", "retain_refusal"} & self.objective.needs:
            raise ConfigError(f"{self.options.objective} needs refusals; expected some: give data.refusals")
        pools = {"forget": self.forget, "retain": self.retain if "retain" in self.objective.needs else ()}
        return [
            item
            for pool, rows in pools.items()
            for item in make_items(pool, rows, self.tokenizer, self.objective, self.options, self.refusals)
        ]

    def _referred(self, items: Sequence[Item], sampler: TwoSidedSampler, steps: int) -> dict[str, dict[int, Encoded]]:
        """The rows that any step will take, by side and number."""
        taken: set[int] = set()
        epochs = -(-steps // sampler.steps)
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            taken |= set(sampler)
        sampler.set_epoch(0)
        rows: dict[str, dict[int, Encoded]] = {side: {} for side in SIDES}
        for index in taken:
            item = items[index]
            rows[item.pool][item.number] = item.answer
            if item.refusal is not None:
                rows[REFUSAL_OF[item.pool]][item.number] = item.refusal
        return rows
