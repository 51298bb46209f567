"""A training step whose lower half of blocks is frozen and was computed once, beside one with LoRA on all.

The saving is that of the blocks that are not run, forward and backward; head and optimiser stay. What it costs in
quality is not here: see the ablation in results/README.md.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from unlogit import train
from unlogit.assistant import new_assistant
from unlogit.benchmarks.findings import Finding
from unlogit.benchmarks.models import Setting, random_rows, random_target
from unlogit.benchmarks.step import ROWS_A_SIDE, one_step, uld_step, uld_trainer
from unlogit.benchmarks.timing import Way, interleaved, ratio
from unlogit.frozen_blocks import frozen_blocks
from unlogit.options import AssistantOptions


def measure(setting: Setting) -> list[Finding]:
    """For the smallest vocabulary, half of the assistant's blocks frozen."""
    vocabulary = min(setting.options.vocabularies)
    first = max(1, setting.branch_layers // 2)
    with tempfile.TemporaryDirectory(prefix="unlogit-bench-") as folder:
        ways = {
            "frozen": frozen_step(setting, vocabulary, first, Path(folder)),
            "all": uld_step(setting, vocabulary),
        }
        repetitions = max(5, setting.options.repetitions // 3)
        seconds = interleaved(ways, repetitions, setting.device)
    found = ratio(seconds["frozen"], seconds["all"])
    once = sorted(seconds["frozen"])[repetitions // 2]
    words = f"LoRA from block {first} of {setting.branch_layers} on ÷ on all, vocabulary {vocabulary}"
    return [Finding("frozen", words, found.median, found.low, found.high, seconds=once)]


def frozen_step(setting: Setting, vocabulary: int, first: int, folder: Path) -> Way:
    """Return one step of the product's training with the blocks below ``first`` recorded in ``folder``."""
    target: Any = random_target(setting, vocabulary)
    shape = AssistantOptions(num_layers=setting.branch_layers, lora_first_layer=first)
    assistant = new_assistant(target, shape, "random").to(setting.device)
    rows = random_rows(setting, 2 * ROWS_A_SIDE, vocabulary)
    recorded = frozen_blocks(target, assistant, rows, folder, setting.dtype)
    assert recorded is not None
    collate = partial(train.collate, recorded=recorded.recorded)
    trainer = uld_trainer(setting, assistant, recorded.above, collate)
    return one_step(trainer, lambda: collate([(row, i < ROWS_A_SIDE) for i, row in enumerate(rows)]))
