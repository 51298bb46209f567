"""How cost grows: training with the rows to forget, decoding with the context and with the number of branches."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.decode import CONTEXT, step
from benchmarks.findings import Finding, compared, counted
from benchmarks.models import Setting, made_up, random_target, unlearned_model
from benchmarks.timing import interleaved
from unlogit.data.examples import Example
from unlogit.settings.options import AssistantOptions, TrainOptions

FORGET_ROWS = (40, 400, 4000)
CONTEXTS = (128, 512, 2048, 8192)
BRANCHES = (1, 2, 4, 8)
SMALL = 4, 128
"""Blocks and hidden size of the model of the training curve: what grows is the number of steps, whatever their size."""


def measure(setting: Setting) -> list[Finding]:
    """All three curves, for the smallest vocabulary."""
    return [*_training(setting), *_contexts(setting), *_branches(setting)]


def _training(setting: Setting) -> list[Finding]:
    from time import monotonic

    from unlogit.training.loop import FitSettings, fit
    from unlogit.training.recipe import recipes_of

    small = setting.of_depth(*SMALL)
    rows, tokenizer = made_up(max(FORGET_ROWS))
    target = random_target(small, max(1024, len(tokenizer)))
    (recipe,) = recipes_of("uld")
    findings = []
    for count in (FORGET_ROWS[0], *FORGET_ROWS):  # the first gets things warm
        pools = {"forget": _cycled(rows, count), "retain": _cycled(rows[::-1], count)}
        options = TrainOptions(
            learning_rate=1e-3,
            retain_weight=1.0,
            epochs=1.0,
            batch_size=8,
            dtype=setting.options.dtype,
            save_steps=10**6,
        )
        settings = FitSettings(options, AssistantOptions(num_layers=1), bar=False)
        start = monotonic()
        with tempfile.TemporaryDirectory() as folder:
            fit(recipe, target, tokenizer, pools, Path(folder) / "assistant", settings)
        seconds = monotonic() - start
        each = 1000 * seconds / count
        case = f"a pass of training over {count} forget rows, set-up included: for each row"
        findings.append(counted("growth", case, each, unit="ms", seconds=seconds))
    return findings[1:]


def _contexts(setting: Setting) -> list[Finding]:
    target = random_target(setting, min(setting.options.vocabularies))
    model = unlearned_model(setting, target)
    return [_decoding(setting, target, model, context, f"after {context} tokens") for context in CONTEXTS]


def _branches(setting: Setting) -> list[Finding]:
    target = random_target(setting, min(setting.options.vocabularies))
    findings = []
    for count in BRANCHES:
        model = unlearned_model(setting, target, branches=count)
        label = f"with {count} branch{'es' if count > 1 else ''}"
        findings.append(_decoding(setting, target, model, CONTEXT, label))
    return findings


def _decoding(setting: Setting, target: Any, model: Any, context: int, label: str) -> Finding:
    """Compare one more token of one row."""
    ways = {"target": step(setting, target, 1, context), "model": step(setting, model, 1, context)}
    seconds = interleaved(ways, setting.options.repetitions, setting.device)
    case = f"decoding {label}: the unlearned model ÷ the target"
    return compared("growth", case, seconds["model"], seconds["target"])


def _cycled(rows: Sequence[Example], count: int) -> list[Example]:
    return [rows[i % len(rows)] for i in range(count)]
