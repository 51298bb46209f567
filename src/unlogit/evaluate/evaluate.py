"""Score a model on named splits and put together everything that can be said of it."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import chain
from typing import Any

import torch

from unlogit.data.content_words import common_words
from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.evaluate.metrics.forget_quality import forget_quality
from unlogit.evaluate.metrics.leak_at_k import leak_at_k
from unlogit.evaluate.metrics.membership_inference import MEMBERSHIP_SPLITS, membership_of, privleak
from unlogit.evaluate.metrics.rouge_words import has_english_words, has_words
from unlogit.evaluate.metrics.table import answer_losses, compute_metrics
from unlogit.evaluate.protocol import PROTOCOLS
from unlogit.evaluate.results import (
    MetricResult,
    Results,
    SplitResult,
    TruthRatios,
    role_of,
    row_digest,
)
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.sampling import COMMON_FRACTION, sample_answers, with_samples
from unlogit.evaluate.scoring.score import Score, score_examples
from unlogit.model.vocabulary import check_readable
from unlogit.settings.options import EvaluateOptions

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
    least; running text has none. Membership inference is there if there is a split ``holdout``, and privleak if
    ``retain`` has results of just these forget and held-out rows. ``name`` is what the results call the model (where
    empty, its folder or hub id); ``config`` is kept in the results beside the options; generated texts are kept with
    ``keep_generated``.

    Raises:
        DataError: a split is empty, or ``retain`` was scored on other forget rows.
        ModelError: a loss is not a finite number.
    """
    started = time.monotonic()
    split_rows = _first_rows(splits, options.max_rows)
    model_name = name or str(model.name_or_path) or type(model).__name__
    compares = retain is not None and not running_text(split_rows.get("forget", ()))
    if retain is not None and compares:  # refused before the work, not after it
        retain_truth_ratios(split_rows.get("forget", ()), model_name, retain, options.protocol)
    embedding_rows = model.config.get_text_config().vocab_size
    check_readable(chain.from_iterable(split_rows.values()), tokenizer, embedding_rows)
    membership_splits = set(MEMBERSHIP_SPLITS) if set(MEMBERSHIP_SPLITS) <= set(split_rows) else set()
    common = common_words(split_rows.get("retain", ()), COMMON_FRACTION) if options.samples else frozenset[str]()
    split_results = {}
    for split, rows in split_rows.items():
        split_results[split] = _evaluate_split(
            model,
            tokenizer,
            split,
            rows,
            options,
            progress=progress,
            keep_generated=keep_generated,
            token_scores=split in membership_splits,
            common=common,
        )
    protocol = PROTOCOLS[options.protocol]
    results = Results(
        model=model_name,
        splits=split_results,
        model_utility=protocol.model_utility(split_results),
        membership_inference=membership_of(split_results),
        machine=_machine(model.device),
        versions={"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        config={"evaluate": asdict(options), **(config or {})},
    )
    quality = compare_with_retain(results, retain) if retain is not None and compares else None
    leak = privacy_leak(results, retain) if isinstance(retain, Results) else None
    return replace(results, forget_quality=quality, privleak=leak, seconds=time.monotonic() - started)


def _first_rows(splits: Mapping[str, Sequence[Example]], max_rows: int) -> dict[str, Sequence[Example]]:
    """Return the first ``max_rows`` (0: all) of each split; none may be empty."""
    for split, rows in splits.items():
        if not rows:
            raise DataError(f"the split {split!r} has no rows; expected at least one: give rows or leave it out")
    return {split: rows[: max_rows or len(rows)] for split, rows in splits.items()}


def running_text(rows: Sequence[Example]) -> bool:
    """Whether these rows are pieces of documents, which have no wrong answers and so no forget quality."""
    return bool(rows) and all(row.kind == "text" for row in rows)


def privacy_leak(results: Results, retain: Results) -> MetricResult | None:
    """Return privleak against the retain model; None where that was not scored on just the same rows."""
    membership, retain_membership = results.membership_inference, retain.membership_inference
    if membership is None or retain_membership is None or results.protocol != retain.protocol:
        return None
    if any(results.splits[split].rows != retain.splits[split].rows for split in MEMBERSHIP_SPLITS):
        return None
    return privleak(membership, retain_membership)


def compare_with_retain(results: Results, retain: Results | TruthRatios) -> MetricResult:
    """Return the forget quality of ``results`` against the retain model on the same rows.

    Raises:
        DataError: either has no truth ratios on forget rows, not on the same ones, or not by the same protocol.
    """
    ratios = results.truth_ratios()
    retain_ratios = retain.truth_ratios() if isinstance(retain, Results) else retain
    return forget_quality(ratios.values, retain_ratios.on_rows(ratios.rows, ratios.source, ratios.protocol))


def retain_truth_ratios(
    forget: Sequence[Example], name: str, retain: Results | TruthRatios, protocol: str = "unlogit"
) -> tuple[list[Example], tuple[float, ...]]:
    """Return the forget rows that have wrong answers, and the retain model's truth ratios on them.

    ``name`` is the model that is to be compared with the retain model, ``protocol`` those that it is scored by.

    Raises:
        DataError: no row has wrong answers, or ``retain`` was not scored on these rows by these protocol.
    """
    usable = [row for row in forget if row.perturbed_answer]
    if not usable:
        raise DataError(
            f"none of the {len(forget)} forget rows has a perturbed_answer; expected some, since a comparison with the "
            "retain model needs wrong answers: give them, or leave the retain model out"
        )
    retain_ratios = retain.truth_ratios() if isinstance(retain, Results) else retain
    return usable, retain_ratios.on_rows([row_digest(row) for row in usable], name, protocol)


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
    token_scores: bool,
    common: frozenset[str],
) -> SplitResult:
    """Score the rows of one split and compute its metrics; held-out rows are not answered, forget rows are sampled."""

    def named(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(f"{what} {name}", done, total)

    protocol = PROTOCOLS[options.protocol]
    scores = score_examples(
        model,
        tokenizer,
        rows,
        batch_size=options.batch_size,
        generate=role_of(name) != "holdout",
        generate_rows=options.generate_rows,
        max_new_tokens=options.max_new_tokens,
        progress=named,
        prompt_format=protocol.prompt_format,
        token_scores=token_scores,
    )
    if options.samples and role_of(name) == "forget":
        scores = draw_samples(model, tokenizer, rows, scores, options, common, named)
    generated = [score.generated for score in scores if score.generated is not None]
    return SplitResult(
        name,
        compute_metrics(scores, role_of(name), protocol.metrics) | leak_at_k(scores),
        tuple(row_digest(row) for row in rows),
        tuple(generated) if keep_generated else (),
        answer_losses(scores) if options.open_unlearning else (),
        protocol.membership_scores(scores) if token_scores else {},
    )


def draw_samples(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Example],
    scores: Sequence[Score],
    options: EvaluateOptions,
    common: frozenset[str],
    progress: Progress | None = None,
) -> list[Score]:
    """Return the scores of forget rows with ``options.samples`` drawn answers, those of the rows that are answered.

    ``common`` are words that many answers have, see ``secrets_of``.
    """
    answered = rows[: options.generate_rows or len(rows)]
    drawn = sample_answers(
        model,
        tokenizer,
        answered,
        options.samples,
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
        progress=progress,
        prompt_format=PROTOCOLS[options.protocol].prompt_format,
    )
    return with_samples(scores, answered, drawn, common)


def wordless_answers(splits: Mapping[str, Sequence[Example]], protocol: str) -> list[str]:
    """Return a line for each split with true answers in which ROUGE-L has nothing to count."""
    english = protocol == "open_unlearning"
    lacking = "a–z or 0–9: by this protocol ROUGE-L is 0 on them" if english else "letter or digit: no ROUGE-L there"
    lines = []
    for name, rows in splits.items():
        answers = [row.answer for row in rows if role_of(name) != "holdout" and row.kind != "text"]
        wordless = sum(not (has_english_words(answer) if english else has_words(answer)) for answer in answers)
        if wordless:
            lines.append(f"{wordless} of {len(answers)} true answers of {name} rows have no {lacking}")
    return lines
