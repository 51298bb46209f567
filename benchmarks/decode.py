"""One more token with a filled cache: the unlearned model's forward beside the target's.

Decoding one row is bound by the bytes of the weights: what is read beyond the target's are the low-rank deltas. Beside
the way of the product stands that of two models, in which an assistant has blocks and head of its own.
"""

from typing import Any

import torch

from benchmarks.findings import Finding, compared
from benchmarks.models import Setting, filled_cache, random_target, unlearned_model
from benchmarks.timing import Way, interleaved
from unlogit.model.unlearned import OUTPUT_CACHE

CONTEXT = 256
ROWS = (1, 8)


def measure(setting: Setting) -> list[Finding]:
    """For each vocabulary, one and eight rows: fused as by default, and with copied weights."""
    findings = []
    for vocabulary in setting.options.vocabularies:
        target = random_target(setting, vocabulary)
        model = unlearned_model(setting, target)
        for rows in ROWS:
            case = f"{'1 row' if rows == 1 else f'{rows} rows'}, vocabulary {vocabulary}"
            for mode, suffix in (("fused", ""), ("copy", ", copied weights")):
                model.mode = mode
                ways = {"target": step(setting, target, rows), "unlearned": step(setting, model, rows)}
                seconds = interleaved(ways, setting.options.repetitions, setting.device)
                findings.append(compared("decode", case + suffix, seconds["unlearned"], seconds["target"]))
    return findings


def step(setting: Setting, model: Any, rows: int, context: int = CONTEXT, cache: Any = None) -> Way:
    """Return one forward of one token for each row, after which the cache is as before; by default with a new cache."""
    if cache is None:
        cache = filled_cache(setting, model, rows, context)
    inputs = {OUTPUT_CACHE: cache}
    ids = torch.zeros(rows, 1, dtype=torch.long, device=setting.device)

    @torch.inference_mode()
    def run() -> None:
        model(input_ids=ids, use_cache=True, **inputs).logits.argmax(-1)
        cache.crop(-1)

    return run
