"""The evaluation logs that TOFU's authors publish (``eval_log_aggregated.json``), read as our own results.

Such a file holds four logs by name; each has mean losses per answer token, losses of wrong answers and the texts
[prompt, generated, true answer], each by row number, or as lists in the order of the rows (ULD's authors, arXiv
2406.08607). Every metric is computed from these by the same functions that score a model, ROUGE-L from the texts, by
runs of a–z and 0–9 as published figures are. The logs do not say which tokens were hit: there is no extraction
strength.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlogit.errors import DataError
from unlogit.evaluate.metrics.table import answer_losses, compute_metrics
from unlogit.evaluate.open_unlearning.metrics import METRICS_OF_OPEN_UNLEARNING
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

_FIELDS = ("avg_gt_loss", "num_token_gt", "avg_paraphrased_loss", "average_perturb_loss", "generated_text")

_PROMPTS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"(?:<s>)?\s*\[INST\](?:\s*<<SYS>>.*?<</SYS>>)?(.*?)\[/INST\].*",  # Llama-2, Mistral
        r"(?:<\|begin_of_text\|>)?(?:<\|start_header_id\|>system<\|end_header_id\|>.*?<\|eot_id\|>)?"
        r"<\|start_header_id\|>user<\|end_header_id\|>(.*?)<\|eot_id\|>.*",  # Llama-3
        r"(?:<\|im_start\|>system\n.*?<\|im_end\|>\s*)?<\|im_start\|>user\n(.*?)<\|im_end\|>.*",  # ChatML
        r"(?:<\|system\|>.*?)?<\|user\|>(.*?)(?:<\|end\|>|</s>|<\|assistant\|>).*",  # Phi-3, Zephyr
        r"(?:<bos>)?<start_of_turn>user\n(.*?)<end_of_turn>.*",  # Gemma
        r"(?:system\n.*?\n)?user\n(.*?)\n?assistant\s*",  # Llama-3 and ChatML, decoded without their marks
        r"### (?:Question|Instruction):(.*?)(?:### (?:Answer|Response):\s*)?",
        r"(?:Question|Q):(.*?)(?:\n(?:Answer|A):\s*)?",  # Phi-1.5, as TOFU asks it
    )
)
"""How prompts put marks around the question, the group; what has none of these is the question."""

_ENGLISH_ROUGE = {"rouge_l_recall": METRICS_OF_OPEN_UNLEARNING["rouge_l_recall"]}


def read_published_log(path: Path, protocol: str = "unlogit") -> Results:
    """Read a log file and compute all metrics that it allows, by the formulas of ``protocol``.

    Its losses come from the tokens of the code that wrote it, whatever the protocol.

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
    rules = PROTOCOLS[protocol]
    for split, name in LOGS.items():
        if name in logs:
            try:
                scores, rows = _scores(logs[name])
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise DataError(
                    f"{path}, {name}: a field is missing or misplaced ({type(error).__name__}: {error}); "
                    "expected a log as TOFU's code writes it"
                ) from error
            metrics = compute_metrics(scores, role_of(split), {**rules.metrics, **_ENGLISH_ROUGE})
            splits[split] = SplitResult(split, metrics, rows, losses=answer_losses(scores))
    config = {"evaluate": {"protocol": protocol}}
    return Results(str(path), splits, model_utility=rules.model_utility(splits), config=config)


def load_retain_truth_ratios(path: Path, protocol: str = "unlogit") -> TruthRatios:
    """Read the retain model's truth ratios from our results.json, a folder with one, or a published log.

    A log's are computed by the formulas of ``protocol``; our results have theirs.

    Raises:
        DataError: the file is neither, or has no truth ratios on forget rows.
    """
    if path.is_dir():
        path = path / "results.json"
    if is_published_log(read_json(path)):
        return read_published_log(path, protocol).truth_ratios()
    return Results.read(path).truth_ratios()


def is_published_log(value: Any) -> bool:
    """Whether parsed JSON holds any of TOFU's logs."""
    return isinstance(value, Mapping) and any(name in value for name in LOGS.values())


def question_of(prompt: str) -> str:
    """Return the question of a prompt, without the marks of its template."""
    for pattern in _PROMPTS:
        if match := pattern.fullmatch(prompt):
            return match.group(1).strip()
    return prompt.strip()


def _by_row(values: Mapping[str, Any] | Sequence[Any]) -> Mapping[str, Any]:
    """Return a field of a log by row number, whether it is so or is a list."""
    return values if isinstance(values, Mapping) else {str(i): value for i, value in enumerate(values)}


def _scores(log: Mapping[str, Any]) -> tuple[list[Score], tuple[str, ...]]:
    """Return one score and one digest for each row of a log."""
    fields = {name: _by_row(log[name]) for name in _FIELDS}
    scores, rows = [], []
    for number, loss in fields["avg_gt_loss"].items():
        prompt, generated, answer = fields["generated_text"][number]
        scores.append(
            Score(
                answer_loss=loss,
                answer_tokens=fields["num_token_gt"][number],
                hits=(),
                paraphrased_loss=fields["avg_paraphrased_loss"][number],
                perturbed_loss=tuple(fields["average_perturb_loss"][number]),
                generated=generated,
                answer=answer,
            )
        )
        rows.append(text_digest(question_of(prompt), answer))
    return scores, tuple(rows)
