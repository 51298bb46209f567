"""What stands in memory: weights and cache are counted, logits are measured in a process of their own."""

from typing import Any

import torch

from benchmarks.findings import Finding, counted
from benchmarks.models import (
    Setting,
    bytes_of,
    filled_cache,
    random_target,
    setting_from,
    unlearned_model,
)
from benchmarks.timing import alone, peak_memory

TOKENS = 2048
"""Positions whose logits are all wanted, as a loss over a text wants them."""


def measure(setting: Setting) -> list[Finding]:
    """Weights and cache for each vocabulary, logits for the largest."""
    findings = []
    for vocabulary in setting.options.vocabularies:
        target = random_target(setting, vocabulary)
        model = unlearned_model(setting, target)
        weights = bytes_of([model]) / bytes_of([target])
        findings.append(counted("memory", f"weights, vocabulary {vocabulary}", weights))
    cache = _cache_bytes(filled_cache(setting, model, 1, 64)) / _cache_bytes(filled_cache(setting, target, 1, 64))
    findings.append(counted("memory", "key-value cache", cache))
    largest = max(setting.options.vocabularies)
    sizes = {
        name: alone("memory:logits_peak", values=setting.values(), vocabulary=largest, unlearned=name == "unlearned")
        for name in ("target", "unlearned")
    }
    logits_bytes = TOKENS * largest * torch.empty(0, dtype=setting.dtype).element_size()
    for name, size in sizes.items():
        case = f"{name}: peak of a forward ÷ its logits, {TOKENS} positions, vocabulary {largest}"
        findings.append(counted("memory", case, size / logits_bytes))
    return findings


def logits_peak(values: dict[str, Any], vocabulary: int, unlearned: bool) -> int:
    """Return the bytes that a forward over one text takes beyond the weights, logits at all positions included."""
    setting = setting_from(values)
    model = random_target(setting, vocabulary)
    if unlearned:
        model = unlearned_model(setting, model)
    ids = torch.arange(TOKENS, device=setting.device)[None] % vocabulary
    with torch.inference_mode():
        model(input_ids=ids[:, :8], use_cache=False)  # the libraries prepare themselves
        with peak_memory(setting.device) as peak:
            model(input_ids=ids, use_cache=False)
    return peak.bytes


def _cache_bytes(cache: Any) -> int:
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
