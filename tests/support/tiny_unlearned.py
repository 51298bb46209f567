"""Two tiny random models behind what the choice of a combination uses of an unlearned model, and a retain model."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from support.models_for_tests import tiny_llama, tiny_tokenizer
from unlogit.data.examples import Example
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio
from unlogit.evaluate.results import TruthRatios, row_digest
from unlogit.evaluate.scoring.score import Score, measure_settings, score_examples
from unlogit.settings.options import CombinationOptions

TOKENIZER = tiny_tokenizer()


def score_settings(
    parts: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    combinations: Sequence[CombinationOptions],
    **settings: Any,
) -> list[list[Score]]:
    """The scores of the examples under every combination."""
    measured = measure_settings(parts, tokenizer, examples, combinations, **settings)
    return [measured.scores(number) for number in range(len(combinations))]


class Unlearned:
    """Target and one assistant; no combination of its own."""

    def __init__(self) -> None:
        self.target = tiny_llama(len(TOKENIZER))
        self.assistant = tiny_llama(len(TOKENIZER), seed=1)
        self.weights = [1.0]
        self.additions = [False]
        self.device = torch.device("cpu")
        self.config = self.target.config
        self.training = False

    def eval(self) -> None:
        pass

    def train(self, mode: bool) -> None:
        pass

    def parts(self, ids: Any, mask: Any, keep: Any, positions: Any = None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        target, assistant = (
            model(ids, attention_mask=mask, position_ids=positions).logits[keep]
            for model in (self.target, self.assistant)
        )
        return target, [assistant]


def truth_ratios(rows: Sequence[Example], shift: float = 0.0, seed: int = 0) -> TruthRatios:
    """A model's truth ratios, multiplied by e to the shift: at seed 0 and shift 0 the retain model is the target."""
    scores = score_examples(tiny_llama(len(TOKENIZER), seed=seed), TOKENIZER, rows, batch_size=4, generate=False)
    ratios = tuple(row_truth_ratio(score) * math.exp(shift) for score in scores)
    return TruthRatios("retain model", tuple(map(row_digest, rows)), ratios)
