"""Whether a model goes on as a text does, given some of it: in windows over the full text.

As MUSE's verbatim memorisation (Shi et al. 2024, arXiv 2407.06460, section 3.1): the first tokens of a window are the
prompt, the greedy continuation is compared with the true one by ROUGE-L recall, over the model's tokens.
``verbatim_completion`` looks at the beginning of each piece only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rouge_score.rouge_scorer import RougeScorer

from unlogit.data.examples import Example
from unlogit.evaluate.leaks import Ask
from unlogit.evaluate.scoring.continuation import continuation

WINDOW_TOKENS = 64
"""The first half is the prompt, the second is what should not be said."""
MAX_WINDOWS = 60
RECITED = 0.5
"""ROUGE-L recall from which a window counts as recited. Common words alone give about a fifth."""


@dataclass(frozen=True)
class Recitation:
    """Windows over texts to forget, before and after."""

    windows: int
    target_recall: float
    """Mean ROUGE-L recall of the target's continuations."""
    unlearned_recall: float
    target_recites: int
    """Windows that the target recites."""
    unlearned_recites: int


def find_recitation(rows: Sequence[Example], tokenizer: Any, target: Ask, unlearned: Ask) -> Recitation | None:
    """Let both models go on from every window; None where there is no running text."""
    windows = windows_of(rows, tokenizer)
    if not windows:
        return None
    references = [str(continuation(window, tokenizer, WINDOW_TOKENS)) for window in windows]
    scorer = RougeScorer(["rougeL"], tokenizer=tokenizer)  # by its tokens, of any script
    target_recalls, unlearned_recalls = (
        [
            float(scorer.score(reference, text)["rougeL"].recall)
            for reference, text in zip(references, ask(windows), strict=True)
        ]
        for ask in (target, unlearned)
    )
    return Recitation(
        len(windows),
        sum(target_recalls) / len(windows),
        sum(unlearned_recalls) / len(windows),
        sum(recall >= RECITED for recall in target_recalls),
        sum(recall >= RECITED for recall in unlearned_recalls),
    )


def windows_of(rows: Sequence[Example], tokenizer: Any) -> list[Example]:
    """Cut pieces of running text into windows; of more than ``MAX_WINDOWS`` so many at even distances."""
    windows = []
    for row in (row for row in rows if row.kind == "text"):
        offsets = tokenizer(row.answer, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        starts = list(range(0, max(1, len(offsets) - WINDOW_TOKENS // 2), WINDOW_TOKENS))
        for start in starts:
            end = min(start + WINDOW_TOKENS, len(offsets))
            windows.append(replace(row, answer=row.answer[offsets[start][0] : offsets[end - 1][1]]))
    return windows[:: max(1, -(-len(windows) // MAX_WINDOWS))]
