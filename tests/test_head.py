"""The losses of a frozen head in chunks, against all logits at once: values, gradients, heads that are not linear."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support.tiny_models import tiny_target
from unlogit.model.decoder import head_logits
from unlogit.objectives import head as head_module
from unlogit.objectives.head import FrozenHead
from unlogit.objectives.sides import Answers, Sides
from unlogit.objectives.uld import uld

FORGET, UNIFORM, RETAIN_WEIGHT, LIFT_WEIGHT = 7, 9, 1.5, 0.3


def hidden_states(lm: Any, scale: float = 3.0, dtype: torch.dtype = torch.float32) -> Tensor:
    size = lm.get_output_embeddings().weight.shape[1]
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(FORGET + UNIFORM, size, generator=generator) * scale
    return hidden.to(dtype).requires_grad_()


def labels_for(lm: Any) -> Tensor:
    return torch.arange(FORGET) % lm.get_output_embeddings().weight.shape[0]


def sides_of(lm: Any, hidden: Tensor, whole: bool) -> Sides:
    """Both sides, as whole logits or as hidden states with a head."""
    outputs, head = (head_logits(lm, hidden), None) if whole else (hidden, FrozenHead(lm))
    labels, none = labels_for(lm), torch.zeros(UNIFORM, dtype=torch.long)
    forget = Answers(outputs[:FORGET], labels, torch.zeros_like(labels), head=head)
    return Sides(forget, uniform=Answers(outputs[FORGET:], none, none, head=head))


def losses(lm: Any, hidden: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """The objective's value and gradient, from whole logits or in chunks."""
    terms = uld(sides_of(lm, hidden, whole), RETAIN_WEIGHT, LIFT_WEIGHT).values()
    total = torch.stack([term.weight * term.mean for term in terms]).sum()
    (gradient,) = torch.autograd.grad(2 * total, hidden)
    return total.detach(), gradient


@pytest.mark.parametrize("positions", [1, 4, 100])
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_equals_whole_logits(kind: str, positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks that divide the positions, that do not, and in one; Gemma 2 caps its logits."""
    lm: Any = tiny_target(kind).requires_grad_(False)
    monkeypatch.setattr(head_module, "CHUNK_LOGITS", positions * lm.get_output_embeddings().weight.shape[0])
    hidden = hidden_states(lm)
    expected, slope = losses(lm, hidden, whole=True)
    found, found_slope = losses(lm, hidden, whole=False)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found_slope, slope, rtol=1e-4, atol=1e-6)


def test_chunks_are_no_larger_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    seen: list[int] = []
    plain = head_module.linear

    def watched(hidden: Tensor, *rest: Any) -> Tensor:
        seen.append(len(hidden))
        return plain(hidden, *rest)

    monkeypatch.setattr(head_module, "CHUNK_LOGITS", 3 * lm.get_output_embeddings().weight.shape[0])
    monkeypatch.setattr(head_module, "linear", watched)
    losses(lm, hidden_states(lm), whole=False)
    assert seen == [3, 3, 1, 3, 3, 3]  # 7 positions to forget, 9 to be near-uniform on


def test_a_linear_head_is_recognised_and_one_that_caps_is_not() -> None:
    assert FrozenHead(tiny_target("llama")).linear is not None
    assert FrozenHead(tiny_target("gemma2")).linear is None


def test_a_head_with_bias() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    layer = lm.get_output_embeddings()
    lm.lm_head = nn.Linear(layer.in_features, layer.out_features).requires_grad_(False)
    assert FrozenHead(lm).linear is lm.lm_head
    hidden = hidden_states(lm)
    for found, expected in zip(losses(lm, hidden, whole=False), losses(lm, hidden, True), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_bfloat16_is_as_near_as_its_rounding() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False).to(torch.bfloat16)
    hidden = hidden_states(lm, dtype=torch.bfloat16)
    expected, slope = losses(lm, hidden, whole=True)
    found, found_slope = losses(lm, hidden, whole=False)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    assert found_slope.dtype == torch.bfloat16
    assert (found_slope - slope).float().norm() < 0.01 * slope.float().norm()


def test_the_sum_over_positions_is_not_rounded_by_autocast() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    hidden = hidden_states(lm).bfloat16()
    lm.lm_head.to(torch.bfloat16)
    expected = FrozenHead(lm).uniform_kl(hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = FrozenHead(lm).uniform_kl(hidden)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_without_gradients(kind: str) -> None:
    lm: Any = tiny_target(kind).requires_grad_(False)
    head, hidden = FrozenHead(lm), hidden_states(lm)
    with torch.inference_mode():
        free = head.cross_entropy(hidden[:FORGET], labels_for(lm)), head.uniform_kl(hidden[FORGET:])
    whole = uld(sides_of(lm, hidden, whole=True), 1.0)
    torch.testing.assert_close(torch.stack(free), torch.stack([term.mean for term in whole.values()]).detach())
