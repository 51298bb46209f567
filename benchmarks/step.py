"""One training step: ULD beside NPO+KL of the whole model, and beside ULD as its authors released it.

The first two are the product's own trainers, ULD's also with a share of its uniform side's tokens, forward to
optimiser, on the same rows: 8 to forget and 8 to keep, of like length, as the product's own sampler puts them together;
each repetition takes the next step of a pass of eight. The third is a stand-in for the released code (its repository:
UCSB-NLP-Chang/ULD): rows padded to 256 tokens, logits at every position, the uniform term over all of them, an
assistant that is a model of its own with peft's LoRA.
"""

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.findings import Finding, compared, counted
from benchmarks.models import (
    BLOCK_PRODUCTS,
    MLP_PRODUCTS,
    Setting,
    random_batches,
    random_rows,
    random_target,
    setting_from,
)
from benchmarks.timing import Way, alone, interleaved, peak_memory
from unlogit.data.encode import Encoded
from unlogit.model.assistant import Assistant, new_assistant
from unlogit.model.decoder import answer_logits
from unlogit.objectives.weights import WEIGHT_OBJECTIVES
from unlogit.settings.options import AssistantOptions, TrainOptions
from unlogit.training import rewrite, train
from unlogit.training.reference import measure_reference
from unlogit.training.trainer import Rows, training_arguments

ROWS_A_SIDE = 8
PADDED_TOKENS = 256
TIME, MEMORY, RELEASED = 1 / 6, 1 / 3, 4.0
FEWEST = 8
FLAT_SHARES = 1.0, 0.25, 0.1
"""Of the tokens of its uniform side, what ULD is measured with (see ``TrainOptions.flat_share``)."""


def measure(setting: Setting) -> Iterator[Finding]:
    """Peak memory and time for each vocabulary; the released way with the smallest only, whose logits fit anywhere."""
    repetitions = max(FEWEST, setting.options.repetitions // 3)
    for vocabulary in setting.options.vocabularies:  # first: what times are measured on would take their room
        peaks = [
            alone("step:peak", setting=setting.values(), vocabulary=vocabulary, name=name) for name in ("uld", "npo_kl")
        ]
        words = f"ULD ÷ NPO+KL, vocabulary {vocabulary}: peak memory"
        yield counted("step", words, peaks[0] / peaks[1], limit=MEMORY)
    for vocabulary in setting.options.vocabularies:
        target = random_target(setting, vocabulary)
        ways = {"npo_kl": npo_kl_step(setting, vocabulary)}
        ways |= {f"{share:g}": uld_step(setting, vocabulary, share, target) for share in FLAT_SHARES}
        seconds = interleaved(ways, repetitions, setting.device)
        for share in FLAT_SHARES:
            case = "" if share == 1 else f", flat_share {share:g}"
            yield compared(
                "step",
                f"ULD ÷ NPO+KL, vocabulary {vocabulary}{case}: time",
                seconds[f"{share:g}"],
                seconds["npo_kl"],
                limit=TIME,
                best=least_work(setting, vocabulary, share),
            )
        del target, ways
        gc.collect()  # a Trainer and its callbacks hold each other, and a model with them
    smallest = min(setting.options.vocabularies)
    ways = {"uld": uld_step(setting, smallest), "released": released_step(setting, smallest)}
    seconds = interleaved(ways, repetitions, setting.device)
    words = f"the released code's way ÷ ULD, vocabulary {smallest}: time"
    yield compared("step", words, seconds["released"], seconds["uld"], limit=RELEASED, at_least=True)


def least_work(setting: Setting, vocabulary: int, flat_share: float) -> float:
    """The products that a step of ULD cannot do without, as a share of those of NPO+KL.

    A frozen block is run forward and backward, two products for each weight and token; one that trains has a third. The
    head has the same, at the positions of answers only, as the assistant's last MLP; ULD's may run on a share of the
    uniform half. The optimiser is left out.
    """
    rows = random_rows(setting, 2 * ROWS_A_SIDE, vocabulary)
    answers = sum(row.answer_tokens for row in rows) / sum(len(row.input_ids) for row in rows)
    head = vocabulary / setting.options.hidden * answers
    branch = setting.branch_layers * BLOCK_PRODUCTS - MLP_PRODUCTS * (1 - answers)
    own_head = head * (1 + flat_share) / 2
    return 2 * (branch + own_head) / (3 * (setting.options.layers * BLOCK_PRODUCTS + head))


def peak(setting: dict[str, Any], vocabulary: int, name: str) -> int:
    """Return the bytes that two steps take, the model included, beyond what the libraries do."""
    own = setting_from(setting)
    with peak_memory(own.device) as found:
        way = (uld_step if name == "uld" else npo_kl_step)(own, vocabulary)
        way()
        way()
    return found.bytes


def uld_step(setting: Setting, vocabulary: int, flat_share: float = 1.0, target: Any = None) -> Way:
    """Return one step of the product's training of an assistant; where no target is given, of a new one."""
    target = random_target(setting, vocabulary) if target is None else target
    assistant = new_assistant(target, AssistantOptions(num_layers=setting.branch_layers), "random")
    batches = cycle(random_batches(setting, ROWS_A_SIDE, vocabulary))
    trainer = uld_trainer(setting, assistant.to(setting.device), None, train.collate, flat_share)
    return one_step(trainer, lambda: train.collate(two_sided(next(batches))))


def two_sided(batch: tuple[Sequence[Encoded], Sequence[Encoded]]) -> list[tuple[Encoded, bool]]:
    """Return rows with whether they are of the forget side."""
    return [(row, side == 0) for side, rows in enumerate(batch) for row in rows]


def uld_trainer(
    setting: Setting, assistant: Assistant, above: Any, collate: Callable[..., Any], flat_share: float = 1.0
) -> Any:
    """Return the trainer of an assistant, from recorded hidden states where ``above`` is given."""
    options = TrainOptions(
        batch_size=ROWS_A_SIDE, learning_rate=1e-3, retain_weight=1.0, epochs=1.0, flat_share=flat_share
    )
    return _trainer(
        setting,
        options,
        lambda **given: train.AssistantTrainer(options, above, **given),
        model=assistant,
        runs=[above.view if above else assistant.view],
        data_collator=collate,
    )


def npo_kl_step(setting: Setting, vocabulary: int) -> Way:
    """Return one step of the product's NPO+KL: the whole model, its weights in float32 as AdamW needs them."""
    model = random_target(setting, vocabulary, torch.float32).requires_grad_(True)
    objective = WEIGHT_OBJECTIVES["npo_kl"]
    options = TrainOptions(objective="npo_kl", batch_size=ROWS_A_SIDE, learning_rate=1e-5, epochs=1.0)
    steps = [
        [
            rewrite.Item(pool, step * ROWS_A_SIDE + i, row, None)
            for pool, rows in zip(("forget", "retain"), batch, strict=True)
            for i, row in enumerate(rows)
        ]
        for step, batch in enumerate(random_batches(setting, ROWS_A_SIDE, vocabulary))
    ]
    sides: dict[str, dict[int, Encoded]] = {"forget": {}, "retain": {}}
    for item in (item for items in steps for item in items):
        sides[item.pool][item.number] = item.answer
    autocast = setting.dtype if setting.dtype != torch.float32 else None
    reference = measure_reference(model, sides, objective.needs, frozen=False, autocast=autocast)

    def predict(_: Any, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        return answer_logits(model, input_ids, attention_mask, keep)

    numbers = rewrite.loss_numbers(objective, options)
    trainer = _trainer(
        setting,
        options,
        lambda **given: rewrite.SidesTrainer(objective, numbers, predict, reference, **given),
        model=model,
        data_collator=rewrite.collate,
    )
    batches = cycle(steps)
    return one_step(trainer, lambda: rewrite.collate(next(batches)))


def released_step(setting: Setting, vocabulary: int) -> Way:
    """Return one step as the released code makes it, see above."""
    base = random_target(setting.of_depth(setting.branch_layers), vocabulary)
    model = rewrite.with_lora(base, AssistantOptions(), setting.options.seed).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    batches = cycle(random_batches(setting, ROWS_A_SIDE, vocabulary))

    def run() -> None:
        forget_rows, uniform_rows = next(batches)
        ids, mask, labels = (one.to(setting.device) for one in padded([*forget_rows, *uniform_rows], PADDED_TOKENS))
        with torch.autocast(setting.device.type, dtype=setting.dtype, enabled=setting.dtype != torch.float32):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()  # [16, 256, V]
            forget = torch.nn.functional.cross_entropy(
                logits[:ROWS_A_SIDE, :-1].flatten(0, 1), labels[:ROWS_A_SIDE, 1:].flatten()
            )
            uniform = -logits[ROWS_A_SIDE:].log_softmax(-1).mean()
        (forget + uniform).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def padded(rows: Sequence[Encoded], length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and labels [B, length] of rows that are all padded to one length."""
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        end = len(row.input_ids)
        ids[i, :end], mask[i, :end] = torch.tensor(row.input_ids), 1
        labels[i, row.prompt_tokens : end] = ids[i, row.prompt_tokens : end]
    return ids, mask, labels


def _trainer(setting: Setting, options: TrainOptions, make: Callable[..., Any], **given: Any) -> Any:
    """Make one of the product's trainers, with an optimiser and nothing to go through."""
    folder = Path(tempfile.mkdtemp(prefix="unlogit-bench-"))
    arguments = training_arguments(
        folder, options, steps_a_epoch=1, row_batch=1, dtype=setting.dtype, device=setting.device, bar=False
    )
    trainer = make(sampler=range(1), log_file=folder / "log.jsonl", args=arguments, train_dataset=Rows([None]), **given)
    trainer.create_optimizer()
    folder.rmdir()
    return trainer


def one_step(trainer: Any, batch: Callable[[], dict[str, Any]]) -> Way:
    """Return one step of a trainer: a batch is put together, then forward, backward, clipping, optimiser."""
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    trainer.current_gradient_accumulation_steps = 1  # as the Trainer's own loop sets it

    def run() -> None:
        trainer.training_step(trainer.model, batch())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.terms = {}

    return run
