"""The head's part of a ULD step, forward and backward: in chunks with the gradient by formula, and on whole logits."""

from typing import Any

import torch

from benchmarks.findings import Finding, compared, counted
from benchmarks.models import Setting, random_target, setting_from
from benchmarks.timing import Way, alone, interleaved, peak_memory
from unlogit.model.decoder import head_logits
from unlogit.objectives.head import FrozenHead
from unlogit.objectives.sides import Answers, Sides
from unlogit.objectives.uld import uld

POSITIONS = 1024
"""Answer tokens of a batch, half of them to forget."""
SMALL, LARGE = 1024, 131_072


def measure(setting: Setting) -> list[Finding]:
    """Time at each vocabulary; memory at 128k beyond that at 1k, in chunks and at once."""
    findings = []
    repetitions = max(3, setting.options.repetitions // 3)
    for vocabulary in setting.options.vocabularies:
        target = random_target(setting.of_depth(1), vocabulary)
        ways = {name: loss(setting, target, name == "chunks") for name in ("chunks", "whole")}
        seconds = interleaved(ways, repetitions, setting.device)
        case = f"chunks ÷ whole logits, {POSITIONS} positions, vocabulary {vocabulary}: time"
        findings.append(compared("head", case, seconds["chunks"], seconds["whole"]))
    for name in ("chunks", "whole"):
        small, large = (
            alone("head:peak", values=setting.values(), vocabulary=size, chunks=name == "chunks")
            for size in (SMALL, LARGE)
        )
        more = (large - small) / 2**20
        case = f"{name}: peak memory at vocabulary {LARGE} beyond that at {SMALL}"
        findings.append(counted("head", case, more, unit="MiB"))
    return findings


def peak(values: dict[str, Any], vocabulary: int, chunks: bool) -> int:
    """Return the bytes that loss and gradient take."""
    setting = setting_from(values)
    target = random_target(setting.of_depth(1), vocabulary)
    run = loss(setting, target, chunks)
    with peak_memory(setting.device) as memory:
        run()
    return memory.bytes


def loss(setting: Setting, target: Any, chunks: bool) -> Way:
    """Return loss and gradient of both terms at random hidden states."""
    size = target.get_output_embeddings().weight.shape
    hidden = torch.randn(POSITIONS, size[1], dtype=setting.dtype, device=setting.device).requires_grad_()
    labels = torch.arange(POSITIONS // 2, device=setting.device) % size[0]
    head = FrozenHead(target)
    half = len(labels)
    rows = torch.zeros_like(labels)

    def run() -> None:
        outputs = hidden if chunks else head_logits(target, hidden)  # [N, H] or [N, V]
        reader = head if chunks else None
        forget, uniform = (Answers(part, labels, rows, head=reader) for part in (outputs[:half], outputs[half:]))
        terms = uld(Sides(forget=forget, uniform=uniform), retain_weight=1.0)
        total = terms["forget"].mean + terms["uniform"].mean
        torch.autograd.backward(total)
        hidden.grad = None

    return run
