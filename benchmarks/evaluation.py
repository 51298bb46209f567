"""Scores and answers as ``unlogit evaluate`` makes them, beside the plain way: one row after the other.

The plain way is what a script does that is written in an hour: a forward for each question with each of its answers,
logits at all positions, and ``generate`` for each question. Random weights never end an answer: all are as long as they
may be, so that what a batch loses by waiting for its longest answer, and gains by stopping when all have ended, is not
in these figures.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.findings import Finding, compared
from benchmarks.models import Setting, made_up, random_target, unlearned_model
from benchmarks.timing import Spread, Way, interleaved
from unlogit.data.encode import encode_answers
from unlogit.data.examples import Example

ROWS = 16
NEW_TOKENS = 32
REPETITIONS = 3


def measure(setting: Setting) -> list[Finding]:
    """For the smallest vocabulary: scoring alone, and with answers."""
    vocabulary = min(setting.options.vocabularies)
    model = unlearned_model(setting, random_target(setting, vocabulary))
    rows, tokenizer = made_up(ROWS)
    findings = []
    for generate in (False, True):
        ways = {
            "plain": plain(setting, model, rows, tokenizer, generate),
            "ours": ours(setting, model, rows, tokenizer, generate),
        }
        seconds = interleaved(ways, REPETITIONS, setting.device)
        what = "scores and answers" if generate else "scores alone"
        case = f"{what}: row by row ÷ ours, {ROWS} questions, vocabulary {vocabulary}"
        finding = compared("evaluation", case, seconds["plain"], seconds["ours"])
        findings.append(replace(finding, seconds=Spread.of(seconds["ours"]).median))
    return findings


def ours(setting: Setting, model: Any, rows: Sequence[Example], tokenizer: Any, generate: bool) -> Way:
    """Return the evaluation's own scoring of the rows."""
    from unlogit.evaluate.scoring.score import score_examples

    def run() -> None:
        score_examples(model, tokenizer, rows, batch_size=32, generate=generate, max_new_tokens=NEW_TOKENS)

    return run


def plain(setting: Setting, model: Any, rows: Sequence[Example], tokenizer: Any, generate: bool) -> Way:
    """Return the plain way, see above."""
    pairs = [
        encode_answers(row, tokenizer, (row.answer, *row.paraphrased_answer[:1], *row.perturbed_answer)) for row in rows
    ]

    @torch.inference_mode()
    def run() -> None:
        for encoded in (answer for row in pairs for answer in row):
            ids = torch.tensor([encoded.input_ids], device=setting.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, encoded.prompt_tokens - 1 : -1].float()
            torch.nn.functional.cross_entropy(logits, ids[0, encoded.prompt_tokens :])
        for row in pairs if generate else ():
            ids = torch.tensor([row[0].prompt_ids], device=setting.device)
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)

    return run
