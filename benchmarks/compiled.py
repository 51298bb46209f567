"""One more token, compiled by ``torch.compile`` with a static cache, beside the plain way with a cache that grows."""

from typing import Any

import torch
from transformers.cache_utils import StaticCache

from benchmarks.decode import CONTEXT, step
from benchmarks.findings import Finding, compared
from benchmarks.models import Setting, random_target, unlearned_model
from benchmarks.timing import Way, interleaved
from unlogit.model.unlearned import OUTPUT_CACHE

CACHE_TOKENS = 2 * CONTEXT
"""Tokens that the static cache has room for; attention goes over all of them."""


def measure(setting: Setting) -> list[Finding]:
    """For the smallest vocabulary and one row."""
    vocabulary = min(setting.options.vocabularies)
    target = random_target(setting, vocabulary)
    model = unlearned_model(setting, target)
    ways = {
        "as it is": step(setting, model, 1),
        "compiled": compiled_step(setting, model),
        "target": compiled_step(setting, target),
    }
    seconds = interleaved(ways, setting.options.repetitions, setting.device)
    findings = []
    for name, label in (("as it is", "the same as it is, with a growing cache"), ("target", "the target alike")):
        case = f"the unlearned model compiled, with a static cache ÷ {label}, 1 row, vocabulary {vocabulary}"
        findings.append(compared("compiled", case, seconds["compiled"], seconds[name]))
    return findings


def compiled_step(setting: Setting, model: Any) -> Way:
    """Return one compiled forward of one token, always at the same place of a static cache."""
    cache = StaticCache(config=model.config, max_cache_len=CACHE_TOKENS)
    prompt = torch.zeros(1, CONTEXT, dtype=torch.long, device=setting.device)
    with torch.inference_mode():
        model(input_ids=prompt, use_cache=True, logits_to_keep=1, **{OUTPUT_CACHE: cache})
    forward: Any = torch.compile(model.forward, fullgraph=True, dynamic=False)
    inputs = {
        "input_ids": prompt[:, :1],
        "position_ids": torch.full((1, 1), CONTEXT, device=setting.device),
        "attention_mask": (torch.arange(CACHE_TOKENS, device=setting.device) <= CONTEXT)[None, None, None],
        OUTPUT_CACHE: cache,
    }

    @torch.inference_mode()
    def run() -> None:
        forward(use_cache=True, **inputs)

    return run
