"""A training step whose lower half of blocks is frozen and was computed once, beside one with LoRA on all.

The saving is that of the blocks that are not run, forward and backward; head and optimiser stay. What it costs in
quality is not here: see the ablation in results/README.md.
"""

import contextlib
import io
import tempfile
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.findings import Finding, compared
from benchmarks.models import Setting, random_batches, random_target
from benchmarks.step import FEWEST, ROWS_A_SIDE, one_step, two_sided, uld_step, uld_trainer
from benchmarks.timing import Way, interleaved
from unlogit.model.assistant import new_assistant
from unlogit.settings.options import AssistantOptions
from unlogit.training import train
from unlogit.training.frozen_blocks import frozen_blocks


def measure(setting: Setting) -> list[Finding]:
    """For the smallest vocabulary, half of the assistant's blocks frozen."""
    vocabulary = min(setting.options.vocabularies)
    first = max(1, setting.branch_layers // 2)
    with tempfile.TemporaryDirectory(prefix="unlogit-bench-") as folder:
        ways = {
            "frozen": frozen_step(setting, vocabulary, first, Path(folder)),
            "all": uld_step(setting, vocabulary),
        }
        repetitions = max(FEWEST, setting.options.repetitions // 3)
        seconds = interleaved(ways, repetitions, setting.device)
    words = f"LoRA from block {first} of {setting.branch_layers} on ÷ on all, vocabulary {vocabulary}"
    return [compared("frozen", words, seconds["frozen"], seconds["all"])]


def frozen_step(setting: Setting, vocabulary: int, first: int, folder: Path) -> Way:
    """Return one step of the product's training with the blocks below ``first`` recorded in ``folder``."""
    target: Any = random_target(setting, vocabulary)
    shape = AssistantOptions(num_layers=setting.branch_layers, lora_first_layer=first)
    assistant = new_assistant(target, shape, "random").to(setting.device)
    steps = random_batches(setting, ROWS_A_SIDE, vocabulary)
    rows = [row for batch in steps for side in batch for row in side]
    with contextlib.redirect_stdout(io.StringIO()):  # what it says of the recording
        recorded = frozen_blocks(target, assistant, rows, folder, setting.dtype)
    assert recorded is not None
    collate = partial(train.collate, recorded=recorded.recorded)
    trainer = uld_trainer(setting, assistant, recorded.above, collate)
    batches = cycle(steps)
    return one_step(trainer, lambda: collate(two_sided(next(batches))))
