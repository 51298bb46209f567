"""The losses of a frozen head in chunks, against all logits at once: values, gradients, heads that are not linear."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from support.tiny_models import tiny_target
from unlogit.model.decoder import head_logits
from unlogit.objectives import head as head_module
from unlogit.objectives.head import FrozenHead
from unlogit.objectives.uld import uld, uniform_kl

FORGET, UNIFORM, RETAIN_WEIGHT = 7, 9, 1.5


def hidden_states(lm: Any, scale: float = 3.0, dtype: torch.dtype = torch.float32) -> Tensor:
    size = lm.get_output_embeddings().weight.shape[1]
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(FORGET + UNIFORM, size, generator=generator) * scale
    return hidden.to(dtype).requires_grad_()


def labels_for(lm: Any) -> Tensor:
    return torch.arange(FORGET) % lm.get_output_embeddings().weight.shape[0]


def losses(lm: Any, hidden: Tensor, in_chunks: bool) -> tuple[Tensor, Tensor]:
    """The objective's value and gradient, from all logits at once or in chunks."""
    labels = labels_for(lm)
    if in_chunks:
        head = FrozenHead(lm)
        terms = head.cross_entropy(hidden[:FORGET], labels), head.uniform_kl(hidden[FORGET:])
    else:
        logits = head_logits(lm, hidden)
        terms = cross_entropy(logits[:FORGET].float(), labels), uniform_kl(logits[FORGET:]).mean()
    loss = uld(*terms, RETAIN_WEIGHT)
    (gradient,) = torch.autograd.grad(2 * loss.total, hidden)
    return loss.total.detach(), gradient


@pytest.mark.parametrize("positions", [1, 4, 100])
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_equals_all_logits_at_once(kind: str, positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks that divide the positions, that do not, and in one; Gemma 2 caps its logits."""
    lm: Any = tiny_target(kind).requires_grad_(False)
    monkeypatch.setattr(head_module, "CHUNK_LOGITS", positions * lm.get_output_embeddings().weight.shape[0])
    hidden = hidden_states(lm)
    expected, expected_slope = losses(lm, hidden, in_chunks=False)
    loss, slope = losses(lm, hidden, in_chunks=True)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slope, expected_slope, rtol=1e-4, atol=1e-6)


def test_chunks_are_no_larger_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    seen: list[int] = []
    plain = head_module.linear

    def watched(hidden: Tensor, *rest: Any) -> Tensor:
        seen.append(len(hidden))
        return plain(hidden, *rest)

    monkeypatch.setattr(head_module, "CHUNK_LOGITS", 3 * lm.get_output_embeddings().weight.shape[0])
    monkeypatch.setattr(head_module, "linear", watched)
    losses(lm, hidden_states(lm), in_chunks=True)
    assert seen == [3, 3, 1, 3, 3, 3]  # 7 positions to forget, 9 to stay uniform on


def test_a_linear_head_is_recognised_and_one_that_caps_is_not() -> None:
    assert FrozenHead(tiny_target("llama")).linear is not None
    assert FrozenHead(tiny_target("gemma2")).linear is None


def test_a_head_with_bias() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    layer = lm.get_output_embeddings()
    lm.lm_head = nn.Linear(layer.in_features, layer.out_features).requires_grad_(False)
    assert FrozenHead(lm).linear is lm.lm_head
    hidden = hidden_states(lm)
    pairs = zip(losses(lm, hidden, in_chunks=True), losses(lm, hidden, in_chunks=False), strict=True)
    for value, expected in pairs:
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_bfloat16_is_as_near_as_its_rounding() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False).to(torch.bfloat16)
    hidden = hidden_states(lm, dtype=torch.bfloat16)
    expected, expected_slope = losses(lm, hidden, in_chunks=False)
    loss, slope = losses(lm, hidden, in_chunks=True)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    assert slope.dtype == torch.bfloat16
    assert (slope - expected_slope).float().norm() < 0.01 * expected_slope.float().norm()


def test_the_sum_over_positions_is_not_rounded_by_autocast() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    hidden = hidden_states(lm).bfloat16()
    lm.lm_head.to(torch.bfloat16)
    expected = FrozenHead(lm).uniform_kl(hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = FrozenHead(lm).uniform_kl(hidden)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_without_gradients(kind: str) -> None:
    lm: Any = tiny_target(kind).requires_grad_(False)
    head, hidden = FrozenHead(lm), hidden_states(lm)
    with torch.inference_mode():
        free = head.cross_entropy(hidden[:FORGET], labels_for(lm)), head.uniform_kl(hidden[FORGET:])
    logits = head_logits(lm, hidden)
    expected = cross_entropy(logits[:FORGET], labels_for(lm)), uniform_kl(logits[FORGET:]).mean()
    torch.testing.assert_close(torch.stack(free), torch.stack(expected).detach())
