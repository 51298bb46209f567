"""The losses of a frozen head in chunks against whole logits: values, gradients, heads that do more than multiply."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support.tiny_models import tiny_target
from unlogit.model.decoder import head_logits
from unlogit.objectives import head as head_module
from unlogit.objectives.head import FrozenHead, drawn_positions
from unlogit.objectives.uld import combined, uld, uniform_excess

FORGET, UNIFORM, RETAIN_WEIGHT = 7, 9, 1.5


def hidden_states(lm: Any, scale: float = 3.0, dtype: torch.dtype = torch.float32) -> Tensor:
    size = lm.get_output_embeddings().weight.shape[1]
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(FORGET + UNIFORM, size, generator=generator) * scale
    return hidden.to(dtype).requires_grad_()


def labels_for(lm: Any) -> Tensor:
    return torch.arange(FORGET) % lm.get_output_embeddings().weight.shape[0]


def losses(lm: Any, hidden: Tensor, growing: bool, whole: bool) -> tuple[Tensor, Tensor]:
    """The objective's value and gradient, from whole logits or in chunks."""
    labels = labels_for(lm)
    if whole:
        logits = head_logits(lm, hidden)
        loss = uld(logits[:FORGET], labels, logits[FORGET:], RETAIN_WEIGHT, growing=growing)
    else:
        head = FrozenHead(lm)
        terms = head.cross_entropy(hidden[:FORGET], labels), head.uniform_excess(hidden[FORGET:])
        chance = torch.tensor(float(lm.get_output_embeddings().weight.shape[0])).log().item()
        loss = combined(*terms, RETAIN_WEIGHT, chance if growing else None)
    (gradient,) = torch.autograd.grad(2 * loss.total, hidden)
    return loss.total.detach(), gradient


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("positions", [1, 4, 100])
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_equals_whole_logits(kind: str, positions: int, growing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks that divide the positions, that do not, and in one; Gemma 2 caps its logits."""
    lm: Any = tiny_target(kind).requires_grad_(False)
    monkeypatch.setattr(head_module, "CHUNK_LOGITS", positions * lm.get_output_embeddings().weight.shape[0])
    hidden = hidden_states(lm)
    expected, slope = losses(lm, hidden, growing, whole=True)
    found, found_slope = losses(lm, hidden, growing, whole=False)
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
    losses(lm, hidden_states(lm), False, whole=False)
    assert seen == [3, 3, 1, 3, 3, 3]  # 7 positions to forget, 9 to be flat on


def test_a_linear_head_is_told_from_one_that_caps() -> None:
    assert FrozenHead(tiny_target("llama")).linear is not None
    assert FrozenHead(tiny_target("gemma2")).linear is None


def test_a_head_with_bias() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    layer = lm.get_output_embeddings()
    lm.lm_head = nn.Linear(layer.in_features, layer.out_features).requires_grad_(False)
    assert FrozenHead(lm).linear is lm.lm_head
    hidden = hidden_states(lm)
    for found, expected in zip(losses(lm, hidden, False, whole=False), losses(lm, hidden, False, True), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_bfloat16_is_as_near_as_its_rounding() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False).to(torch.bfloat16)
    hidden = hidden_states(lm, dtype=torch.bfloat16)
    expected, slope = losses(lm, hidden, False, whole=True)
    found, found_slope = losses(lm, hidden, False, whole=False)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    assert found_slope.dtype == torch.bfloat16
    assert (found_slope - slope).float().norm() < 0.01 * slope.float().norm()


def test_the_sum_over_positions_is_not_rounded_by_autocast() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    hidden = hidden_states(lm).bfloat16()
    lm.lm_head.to(torch.bfloat16)
    expected = FrozenHead(lm).uniform_excess(hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = FrozenHead(lm).uniform_excess(hidden)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_without_gradients(kind: str) -> None:
    lm: Any = tiny_target(kind).requires_grad_(False)
    head, hidden = FrozenHead(lm), hidden_states(lm)
    with torch.inference_mode():
        free = head.cross_entropy(hidden[:FORGET], labels_for(lm)), head.uniform_excess(hidden[FORGET:])
    logits = head_logits(lm, hidden)
    whole = uld(logits[:FORGET], labels_for(lm), logits[FORGET:], 1.0)
    torch.testing.assert_close(torch.stack(free), torch.stack([whole.forget, whole.uniform]).detach())


def test_positions_are_drawn_by_their_slopes() -> None:
    """0.4 of five: half of it 0.2 each, half by the slope, so that the chances are 0.2 to 1.1, the last cut off at 1.
    Each is drawn as often as that, one or two at a time, weighted by one over it."""
    slopes = torch.tensor([0.0, 1.0, 1.0, 0.0, 18.0])
    chance = torch.tensor([0.2, 0.25, 0.25, 0.2, 1.0])
    torch.manual_seed(0)
    counts = torch.zeros(5)
    for _ in range(2000):
        taken, weights = drawn_positions(slopes, 0.4)
        assert 1 <= len(taken) <= 2
        torch.testing.assert_close(weights, 1 / chance[taken])
        counts[taken] += 1
    assert counts[4] == 2000
    assert ((counts / 2000 - chance).abs() < 0.05).all()  # five deviations
    assert drawn_positions(torch.zeros(4), 0.5)[1].tolist() == [2.0, 2.0]  # all as flat as one another
    assert len(drawn_positions(torch.ones(1), 1e-9)[0]) == 0


@pytest.mark.parametrize("bias", [False, True])
def test_slopes_are_those_of_nearly_flat_positions(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions whose logits are nearly equal, some a thousand times steeper than others, beside a large part that is
    the same in all logits; with a bias, one that it alone moves, and one that makes up for it."""
    lm: Any = tiny_target("llama").requires_grad_(False)
    size = lm.get_output_embeddings().in_features
    lm.lm_head = nn.Linear(size, 4 * size, bias=bias).requires_grad_(False)
    weight, same = lm.lm_head.weight, nn.functional.normalize(torch.arange(1.0, size + 1), dim=0)
    weight += (1 - weight @ same)[:, None] * same  # W same = 1
    hidden = (hidden_states(lm) * torch.logspace(-4, -1, FORGET + UNIFORM)[:, None]).detach()
    if bias:
        nn.init.normal_(lm.lm_head.bias, std=1e-2)
        hidden[0] = 0
        centred = weight - weight.mean(dim=0)
        hidden[1] = -torch.linalg.lstsq(centred, lm.lm_head.bias[:, None]).solution[:, 0]
    hidden += 100 * same
    monkeypatch.setattr(head_module, "CHUNK_LOGITS", 7 * size)  # the head's rows in several parts
    logits = hidden.double() @ weight.double().T + (lm.lm_head.bias.double() if bias else 0)
    expected = ((logits.softmax(dim=-1) - 1 / len(weight)) @ weight.double()).norm(dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as in training: not rounded by it
        found = FrozenHead(lm).slopes(hidden)
    if bias:
        assert found[1] < 0.05 * found[0]
    ratio = (found / expected)[[i for i in range(len(hidden)) if not (bias and i == 1)]]
    assert ratio.max() / ratio.min() < 1.8  # six deviations on either side


def test_slopes_without_readable_weights_are_all_one() -> None:
    lm: Any = tiny_target("llama")
    lm.set_output_embeddings(nn.Sequential(lm.get_output_embeddings()))
    hidden = hidden_states(tiny_target("llama"))
    assert FrozenHead(lm).slopes(hidden).tolist() == [1.0] * len(hidden)
    assert FrozenHead(tiny_target("gemma2")).slopes(hidden).std() > 0  # a cap leaves the weights readable


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_share_is_the_weighted_sum_at_what_is_drawn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm: Any = tiny_target(kind).requires_grad_(False)
    monkeypatch.setattr(head_module, "CHUNK_LOGITS", 3 * lm.get_output_embeddings().weight.shape[0])
    hidden, head = hidden_states(lm), FrozenHead(lm)
    torch.manual_seed(3)
    taken, weights = drawn_positions(head.slopes(hidden), 0.5)
    assert 4 < len(taken) < len(hidden)
    expected = (uniform_excess(head_logits(lm, hidden[taken])) * weights).sum() / len(hidden)
    torch.manual_seed(3)
    found = head.uniform_excess(hidden, 0.5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    slopes = [torch.autograd.grad(loss, hidden)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)
    assert not slopes[0][[i for i in range(len(hidden)) if i not in taken]].any()


def test_nothing_drawn_is_no_loss() -> None:
    lm: Any = tiny_target("llama").requires_grad_(False)
    hidden = hidden_states(lm)
    loss = FrozenHead(lm).uniform_excess(hidden, 1e-9)
    (slope,) = torch.autograd.grad(loss, hidden)
    assert loss == 0
    assert not slope.any()
