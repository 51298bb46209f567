"""One training step: ULD beside NPO+KL of the whole model, and beside ULD as its authors released it.

The first two are the product's own training (``product_step``), forward to optimiser, on the same rows: 8 to forget
and 8 to keep, of like length, as the product's own sampler puts them together; each repetition takes the next step of a
pass of eight. Both compute in the same type; NPO+KL keeps its weights in float32, as AdamW needs them. The third is a
stand-in for the released code (its repository: UCSB-NLP-Chang/ULD): rows padded to 256 tokens, logits at every
position, the uniform term over all of them, an assistant that is a model of its own with peft's LoRA.
"""

import gc
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from benchmarks.findings import Finding, compared, counted
from benchmarks.models import Setting, random_batches, random_target, setting_from
from benchmarks.product_training import ROWS_A_SIDE, product_step
from benchmarks.timing import Way, alone, interleaved, peak_memory
from unlogit.data.encode import Encoded
from unlogit.settings.options import AssistantOptions
from unlogit.training.trainable import with_lora

PADDED_TOKENS = 256
FEWEST = 8
"""Repetitions at the least: the steps of a pass."""


def measure(setting: Setting) -> Iterator[Finding]:
    """Peak memory and time for each vocabulary; the released way with the smallest only, whose logits fit anywhere."""
    repetitions = max(FEWEST, setting.options.repetitions // 3)
    for vocabulary in setting.options.vocabularies:  # first: what times are measured on would take their room
        uld, npo_kl = (
            alone("step:peak", values=setting.values(), vocabulary=vocabulary, objective=objective)
            for objective in ("uld", "npo_kl")
        )
        yield counted("step", f"ULD ÷ NPO+KL, vocabulary {vocabulary}: peak memory", uld / npo_kl)
    for vocabulary in setting.options.vocabularies:
        ways = {objective: product_step(setting, objective, vocabulary) for objective in ("npo_kl", "uld")}
        seconds = interleaved(ways, repetitions, setting.device)
        yield compared("step", f"ULD ÷ NPO+KL, vocabulary {vocabulary}: time", seconds["uld"], seconds["npo_kl"])
        del ways
        gc.collect()  # a Trainer and its callbacks hold each other, and a model with them
    smallest = min(setting.options.vocabularies)
    ways = {"uld": product_step(setting, "uld", smallest), "released": released_step(setting, smallest)}
    seconds = interleaved(ways, repetitions, setting.device)
    case = f"the released code's way ÷ ULD, vocabulary {smallest}: time"
    yield compared("step", case, seconds["released"], seconds["uld"])


def peak(values: dict[str, Any], vocabulary: int, objective: str) -> int:
    """Return the bytes that two steps take, the model included, beyond what the libraries do."""
    setting = setting_from(values)
    with peak_memory(setting.device) as memory:
        run = product_step(setting, objective, vocabulary)
        run()
        run()
    return memory.bytes


def released_step(setting: Setting, vocabulary: int) -> Way:
    """Return one step as the released code makes it, see above."""
    base = random_target(setting.of_depth(setting.branch_layers), vocabulary)
    torch.manual_seed(setting.options.seed)
    model = with_lora(base, AssistantOptions()).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    batches = cycle(random_batches(setting, ROWS_A_SIDE, vocabulary))

    def run() -> None:
        forget_rows, uniform_rows = next(batches)
        ids, mask, labels = (
            tensor.to(setting.device) for tensor in padded([*forget_rows, *uniform_rows], PADDED_TOKENS)
        )
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
