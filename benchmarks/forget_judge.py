"""A forgotten request beside a retain model that never saw its rows: forget quality, utility, exposure, leaks.

Forget quality is measured at the strength that the request chose, and at every other of ``ALPHAS``. The best of these
needs the retain model, and is chosen on the rows that judge: no rule can be above it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.evaluate.evaluate import evaluate_model
from unlogit.evaluate.ghost_losses import losses_among_ghosts
from unlogit.evaluate.ghost_reference import ghost_reference
from unlogit.evaluate.leaks import asker, find_kept
from unlogit.evaluate.pick import ReferenceFigures, measure_rows, pick_row
from unlogit.evaluate.results import Results
from unlogit.model.loading import load_target, load_tokenizer, load_unlearned
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import CombinationOptions, EvaluateOptions
from unlogit.strength.exposure import exposure

ALPHAS = tuple(round(0.05 * step, 2) for step in range(1, 61))
SAMPLES = 16
MAX_NEW_TOKENS = 60
BATCH_SIZE = 32


@dataclass(frozen=True)
class JudgedRows:
    """Rows that judge by split (forget and retain at least), and general questions."""

    splits: Mapping[str, list[Example]]
    general: Sequence[Example]


def judge(folder: RunFolder, target: str, retain_model: str, rows: JudgedRows, generate_rows: int) -> dict[str, Any]:
    """Return every figure of a request, by name; those of models by model."""
    options = EvaluateOptions(
        generate_rows=generate_rows, max_new_tokens=MAX_NEW_TOKENS, samples=SAMPLES, batch_size=BATCH_SIZE
    )
    tokenizer = load_tokenizer(target)
    retain = load_target(retain_model)
    retain_results = evaluate_model(retain, load_tokenizer(retain_model), rows.splits, options, name="retain model")
    ghosts = read_prepared(folder.ghosts)
    forget = [row for row in read_prepared(folder.data / "evaluation" / "forget.jsonl") if row.kind != "text"]
    among = losses_among_ghosts(forget, ghosts, retain, load_tokenizer(retain_model))
    del retain  # never two models in memory
    model = load_unlearned(str(folder.path), target)
    results = {
        name: evaluate_model(scored, tokenizer, rows.splits, options, retain_results, name=name)
        for name, scored in (("target", model.target), ("unlearned", model))
    }
    kept = find_kept(
        rows.general, asker(model.target, tokenizer, MAX_NEW_TOKENS), asker(model, tokenizer, MAX_NEW_TOKENS)
    )
    return {
        "models": {name: _figures(entry) for name, entry in {**results, "retain model": retain_results}.items()},
        "general": asdict(kept),
        "retain_exposure": asdict(exposure([(row.loss, row.ghosts) for row in among])) if among else None,
        "alphas": _by_alpha(model, tokenizer, rows.splits, retain_results),
    }


def _figures(results: Results) -> dict[str, Any]:
    """Return one model's figures: overall, and of the forget and retain rows."""
    splits = {
        name: {metric: found.value for metric, found in results.splits[name].metrics.items()}
        for name in ("forget", "retain")
    }
    quality, utility = results.forget_quality, results.model_utility
    return {
        "forget_quality": quality and quality.value,
        "model_utility": utility and utility.value,
        "utility_parts": dict(utility.parts) if utility else {},
        **splits,
    }


def _by_alpha(
    model: Any, tokenizer: Any, splits: Mapping[str, list[Example]], retain: Results
) -> list[dict[str, float | None]]:
    """Return forget quality and what is kept for each alpha, rule and filter as the model has them.

    An alpha is what the branches are multiplied by, the strength of the request included. ``ghost_objective`` is that
    of a sweep without a retain model, on these rows.
    """
    forget, reference = ReferenceFigures.of(splits["forget"], retain)
    ghosts = ghost_reference(forget, model.target, tokenizer, seed=0, batch_size=BATCH_SIZE)
    has_ghosts = len(ghosts.usable(forget)) == len(forget)
    references = [reference, ReferenceFigures(*ghosts.of(forget))] if has_ghosts else [reference]
    weight = sum(model.weights)
    own = model.combination
    combinations = [CombinationOptions(own.rule, alpha / weight, own.filter_rate) for alpha in (0.0, *ALPHAS)]
    rows = {"forget": forget, "retain": splits["retain"]}
    scores = measure_rows(model, tokenizer, rows, combinations, batch_size=BATCH_SIZE)
    target_retain = scores["retain"].scores(0)
    names = ("ks_statistic", "forget_quality", "forget_probability", "forget_exact_memorisation", "retain_kept")
    table = []
    for number, combination in enumerate(combinations):
        row, *by_ghosts = [
            pick_row(combination, scores["forget"].scores(number), scores["retain"].scores(number), target_retain, by)
            for by in references
        ]
        table.append(
            {"alpha": round(combination.alpha * weight, 6)}
            | {name: getattr(row, name) for name in names}
            | {"ghost_objective": by_ghosts[0].objective if by_ghosts else None}
        )
    return table
