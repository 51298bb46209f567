"""The evaluation logs that TOFU's authors publish (``eval_log_aggregated.json``), read as our own results.

Such a file holds four logs by name; each has, by row number, mean losses per answer token, losses of wrong
answers and the texts [prompt, generated, true answer]. Every metric is computed from these by the same
functions that score a model, ROUGE-L from the texts. The logs do not say which tokens were hit: there is no
extraction strength.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlogit.errors import DataError
from unlogit.evaluate.metrics.table import answer_losses, compute_metrics
from unlogit.evaluate.protocol import PROTOCOLS
from unlogit.evaluate.results import Results, SplitResult, TruthRatios, read_json, role_of, text_digest
from unlogit.evaluate.scoring.score import Score

LOGS = {
    "retain": "eval_log.json",
    "real_authors": "eval_real_author_wo_options.json",
    "world_facts": "eval_real_world_wo_options.json",
    "forget": "eval_log_forget.json",
}
"""Split to the name of its log inside the file."""

_PROMPT = ("[INST] ", " [/INST]")  # Llama-2's marks around the question


def read_published_log(path: Path, conventions: str = "unlogit") -> Results:
    """Read a log file and compute all metrics that it allows, by the formulas of ``conventions``.

    Its losses come from the tokens of the code that wrote it, whatever the conventions.

    Raises:
        DataError: the file is missing, is not JSON, or is not such a log.
    """
    logs = read_json(path)
    if not is_published_log(logs):
        raise DataError(
            f"{path} has none of the logs {', '.join(LOGS.values())}; expected TOFU's "
            "eval_log_aggregated.json: check the path"
        )
    splits = {}
    protocol = PROTOCOLS[conventions]
    for split, name in LOGS.items():
        if name in logs:
            try:
                scores, rows = _scores(logs[name])
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise DataError(
                    f"{path}, {name}: a field is missing or misplaced ({type(error).__name__}: {error}); "
                    "expected a log as TOFU's code writes it"
                ) from error
            metrics = compute_metrics(scores, role_of(split), protocol.metrics)
            splits[split] = SplitResult(split, metrics, rows, losses=answer_losses(scores))
    config = {"evaluate": {"conventions": conventions}}
    return Results(str(path), splits, model_utility=protocol.model_utility(splits), config=config)


def load_retain_truth_ratios(path: Path, conventions: str = "unlogit") -> TruthRatios:
    """Read the retain model's truth ratios from our results.json, a folder with one, or a published log.

    A log's are computed by the formulas of ``conventions``; our results have theirs.

    Raises:
        DataError: the file is neither, or has no truth ratios on forget rows.
    """
    if path.is_dir():
        path = path / "results.json"
    if is_published_log(read_json(path)):
        return read_published_log(path, conventions).truth_ratios()
    return Results.read(path).truth_ratios()


def is_published_log(value: Any) -> bool:
    """Whether parsed JSON holds any of TOFU's logs."""
    return isinstance(value, Mapping) and any(name in value for name in LOGS.values())


def _scores(log: Mapping[str, Any]) -> tuple[list[Score], tuple[str, ...]]:
    """Return one score and one digest for each row of a log."""
    scores, rows = [], []
    for number, loss in log["avg_gt_loss"].items():
        prompt, generated, answer = log["generated_text"][number]
        scores.append(
            Score(
                answer_loss=loss,
                answer_tokens=log["num_token_gt"][number],
                hits=(),
                paraphrased_loss=log["avg_paraphrased_loss"][number],
                perturbed_loss=tuple(log["average_perturb_loss"][number]),
                generated=generated,
                answer=answer,
            )
        )
        question = prompt.removeprefix(_PROMPT[0]).removesuffix(_PROMPT[1])
        rows.append(text_digest(question, answer))
    return scores, tuple(rows)
