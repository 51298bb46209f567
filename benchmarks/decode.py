"""One more token with a filled cache: the unlearned model's forward beside the target's.

Decoding one row is bound by the bytes of the weights: what is read beyond the target's are the low-rank deltas. Beside
the way of the product stands that of two models, in which an assistant has blocks and head of its own; and the target
is also timed with the attention that the product decodes with (``attention``), to tell what comes of that.
"""

from typing import Any

import torch
from unlogit.model.attention import FasterAttention

from benchmarks.findings import Finding, compared
from benchmarks.models import Setting, bytes_of, filled_cache, random_target, unlearned_model
from benchmarks.timing import Way, interleaved
from unlogit.model.unlearned import OUTPUT_CACHE

CONTEXT = 256
ROWS = (1, 8)
LIMITS = {1: 1.08, 8: 1.20}


def measure(setting: Setting) -> list[Finding]:
    """For each vocabulary, one and eight rows: fused as by default, and with copied weights."""
    findings = []
    for vocabulary in setting.options.vocabularies:
        target = random_target(setting, vocabulary)
        model = unlearned_model(setting, target)
        best = bytes_of([model]) / bytes_of([target])
        for rows in ROWS:
            ways = {"target": step(setting, target, rows), "fused": step(setting, model, rows)}
            ways["alike"] = with_our_attention(target, ways["target"])
            seconds = interleaved(ways, setting.options.repetitions, setting.device)
            model.mode = "copy"
            ways["copy"] = step(setting, model, rows)
            beside = interleaved({k: ways[k] for k in ("target", "copy")}, setting.options.repetitions, setting.device)
            model.mode = "fused"
            words = f"{_rows(rows)}, vocabulary {vocabulary}"
            findings += [
                compared("decode", words, seconds["fused"], seconds["target"], limit=LIMITS[rows], best=best),
                compared("decode", f"{words}, the target with our attention", seconds["fused"], seconds["alike"]),
                compared("decode", f"{words}, copied weights", beside["copy"], beside["target"]),
            ]
    return findings


def step(setting: Setting, model: Any, rows: int, context: int = CONTEXT, cache: Any = None) -> Way:
    """Return one forward of one token for each row, after which the cache is as before; not given, it is made."""
    if cache is None:
        cache = filled_cache(setting, model, rows, context)
    given = {OUTPUT_CACHE: cache}
    ids = torch.zeros(rows, 1, dtype=torch.long, device=setting.device)

    @torch.inference_mode()
    def run() -> None:
        model(input_ids=ids, use_cache=True, **given).logits.argmax(-1)
        cache.crop(-1)

    return run


def with_our_attention(model: Any, way: Way) -> Way:
    """Return the same with the attention that unlearned models decode with, which has no part in unlearning."""
    attention = FasterAttention(model)

    def run() -> None:
        with attention.used():
            way()

    return run


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
