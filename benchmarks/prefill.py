"""A prompt of a few hundred tokens: bound by arithmetic, of which the unlearned model has (L + K)/L of the target's.

The target is run without transformers' own slice of the last position, which is no contiguous tensor: with bfloat16 on
a processor the head's product over it took several times as long as all the blocks. Ours is a copy.
"""

from typing import Any

import torch

from benchmarks.findings import Finding, compared
from benchmarks.models import Setting, random_target, unlearned_model
from benchmarks.timing import Way, interleaved
from unlogit.model.decoder import head_view, view_logits
from unlogit.model.unlearned import UnlearnedForCausalLM

SHAPES = ((1, 512), (8, 128))
"""Rows and tokens of each."""


def measure(setting: Setting) -> list[Finding]:
    """For each vocabulary, one long prompt and eight short ones."""
    findings = []
    for vocabulary in setting.options.vocabularies:
        target = random_target(setting, vocabulary)
        model = unlearned_model(setting, target)
        for rows, tokens in SHAPES:
            ways = {"target": prompt(setting, target, rows, tokens), "fused": prompt(setting, model, rows, tokens)}
            seconds = interleaved(ways, max(3, setting.options.repetitions // 2), setting.device)
            case = f"{rows} × {tokens} tokens, vocabulary {vocabulary}"
            findings.append(compared("prefill", case, seconds["fused"], seconds["target"]))
    return findings


def prompt(setting: Setting, model: Any, rows: int, tokens: int) -> Way:
    """Return one forward over a prompt, of which the last position's logits are wanted."""
    ids = torch.arange(rows * tokens, device=setting.device).reshape(rows, tokens) % model.config.vocab_size
    head = None if isinstance(model, UnlearnedForCausalLM) else head_view(model)

    @torch.inference_mode()
    def run() -> None:
        if head is None:
            model(input_ids=ids, use_cache=True, logits_to_keep=1)
        else:
            hidden = model.get_decoder()(input_ids=ids, use_cache=True).last_hidden_state
            view_logits(head, hidden[:, -1].contiguous())

    return run
