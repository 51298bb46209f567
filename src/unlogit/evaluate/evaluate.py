"""Score a model on named splits and put together everything that can be said of it."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import torch

from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.evaluate.forget_quality import forget_quality
from unlogit.evaluate.metrics import compute_metrics
from unlogit.evaluate.model_utility import model_utility, utility_parts
from unlogit.evaluate.results import (
    MetricResult,
    Results,
    SplitResult,
    TruthRatios,
    role_of,
    row_digest,
)
from unlogit.evaluate.scoring import Progress, score_examples
from unlogit.options import EvaluateOptions

_PACKAGES = ("unlogit", "torch", "transformers", "scipy", "rouge-score")


def evaluate_model(
    model: Any,
    tokenizer: Any,
    splits: Mapping[str, Sequence[Example]],
    options: EvaluateOptions,
    retain: Results | TruthRatios | None = None,
    progress: Progress | None = None,
    *,
    name: str = "",
    config: Mapping[str, Any] | None = None,
    keep_generated: bool = False,
) -> Results:
    """Score ``model`` on every split and compute every metric that the rows allow.

    Forget quality is there if ``retain`` is: results or truth ratios of the retain model, on these forget rows at
    least. ``name`` is what the results call the model (where empty, its folder or hub id); ``config`` is kept in the
    results beside the options; generated texts are kept with ``keep_generated``.

    Raises:
        DataError: a split is empty, or ``retain`` was scored on other forget rows.
        ModelError: a loss is not a finite number.
    """
    started = time.monotonic()
    for split, rows in splits.items():
        if not rows:
            raise DataError(f"the split {split!r} has no rows; expected at least one: give rows or leave it out")
    called = name or str(model.name_or_path) or type(model).__name__
    chosen = {split: rows[: options.max_rows or len(rows)] for split, rows in splits.items()}
    if retain is not None:
        retain_truth_ratios(chosen.get("forget", ()), called, retain)  # refused before the work, not after it
    found = {
        split: _evaluate_split(model, tokenizer, split, rows, options, progress=progress, keep_generated=keep_generated)
        for split, rows in chosen.items()
    }
    results = Results(
        model=called,
        splits=found,
        model_utility=model_utility(found) if utility_parts(found) else None,
        machine=_machine(model.device),
        versions={"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        config={"evaluate": asdict(options), **(config or {})},
    )
    quality = None if retain is None else compare_with_retain(results, retain)
    return replace(results, forget_quality=quality, seconds=time.monotonic() - started)


def compare_with_retain(results: Results, retain: Results | TruthRatios) -> MetricResult:
    """Return the forget quality of ``results`` against the retain model on the same rows.

    Raises:
        DataError: either has no truth ratios on forget rows, or not on the same ones.
    """
    own = results.truth_ratios()
    other = retain.truth_ratios() if isinstance(retain, Results) else retain
    return forget_quality(own.values, other.on_rows(own.rows, own.source))


def retain_truth_ratios(
    forget: Sequence[Example], name: str, retain: Results | TruthRatios
) -> tuple[list[Example], tuple[float, ...]]:
    """Return the forget rows that have wrong answers, and the retain model's truth ratios on them.

    ``name`` is the model that is to be compared with the retain model.

    Raises:
        DataError: no row has wrong answers, or ``retain`` was not scored on these rows.
    """
    usable = [row for row in forget if row.perturbed_answer]
    if not usable:
        raise DataError(
            f"none of the {len(forget)} forget rows has a perturbed_answer; expected some, since a comparison with the "
            "retain model needs wrong answers: give them, or leave the retain model out"
        )
    other = retain.truth_ratios() if isinstance(retain, Results) else retain
    return usable, other.on_rows([row_digest(row) for row in usable], name)


def _machine(device: torch.device) -> str:
    """Say where it ran: system, processor type, the model's device and its name, threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{platform.system()} {platform.machine()}, {name}, {torch.get_num_threads()} threads"


def _evaluate_split(
    model: Any,
    tokenizer: Any,
    name: str,
    rows: Sequence[Example],
    options: EvaluateOptions,
    *,
    progress: Progress | None,
    keep_generated: bool,
) -> SplitResult:
    """Score the rows of one split and compute its metrics."""

    def named(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(f"{what} {name}", done, total)

    scores = score_examples(
        model,
        tokenizer,
        rows,
        batch_size=options.batch_size,
        generate=True,
        generate_rows=options.generate_rows,
        max_new_tokens=options.max_new_tokens,
        progress=named,
    )
    generated = [score.generated for score in scores if score.generated is not None]
    return SplitResult(
        name,
        compute_metrics(scores, role_of(name)),
        tuple(row_digest(row) for row in rows),
        tuple(generated) if keep_generated else (),
    )
