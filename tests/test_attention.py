"""Our attention gives what PyTorch's fused one does, stands in for it for a while, and leaves everything as it was."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tiny_models import random_assistant, tiny_target
from unlogit.model import attention
from unlogit.model.attention import FASTER, SHORT_TOKENS, FasterAttention, chosen_attention, faster_attention

ROWS, HEADS, SIZE = 2, 6, 16


def names(*models: Any) -> set[str]:
    found = [module.config for model in models for module in model.modules() if hasattr(module, "config")]
    return {config._attn_implementation for config in found}


def layer(groups: int) -> Any:
    module: Any = nn.Module().eval()
    module.num_key_value_groups = groups
    return module


def drawn(queries: int, keys: int, groups: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries, keys and values."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(ROWS, HEADS, queries, SIZE)] + [(ROWS, HEADS // groups, keys, SIZE)] * 2
    return [(3 * torch.randn(shape, generator=generator)).bfloat16().to(dtype) for shape in shapes]


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("the fused attention was called")


def test_it_stands_in_for_a_while() -> None:
    target = tiny_target()
    view: Any = random_assistant(target).view
    with FasterAttention(view).used():
        assert names(view, target) == {FASTER}  # the blocks read the target's config, the view has its own
        assert chosen_attention(target.config) == "sdpa"
    assert names(view, target) == {"sdpa"}


def test_what_was_chosen_stays() -> None:
    """A model that was loaded with another attention keeps it."""
    target = tiny_target()
    target.set_attn_implementation("eager")
    with FasterAttention(target).used():
        assert names(target) == {"eager"}
    assert names(target) == {"eager"}


def test_it_is_set_back_after_an_error() -> None:
    target = tiny_target()
    with pytest.raises(ZeroDivisionError), FasterAttention(target).used():
        raise ZeroDivisionError
    assert names(target) == {"sdpa"}


@pytest.mark.parametrize("training", [True, False])
def test_a_model_gives_the_same(training: bool) -> None:
    target = tiny_target()
    ids = torch.tensor([[5, 9, 33, 12], [8, 50, 17, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.set_grad_enabled(training):
        plain = target(input_ids=ids, attention_mask=mask).logits
        with FasterAttention(target).used():
            found = target(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask.bool()], plain[mask.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kind", ["none", "not causal", "bool", "float"])
def test_masks(groups: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every form of mask that transformers gives, where one key is padding, with the same gradients."""
    tokens = 7
    seen = torch.ones(ROWS, 1, tokens, tokens, dtype=torch.bool).tril()
    seen[1, :, :, 2] = False
    added = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    mask = {"bool": seen, "float": added}.get(kind)
    more: dict[str, Any] = {"is_causal": False} if kind == "not causal" else {}

    def computed(way: Any) -> list[Tensor]:
        given = [tensor.requires_grad_() for tensor in drawn(tokens, tokens, groups)]
        output = way(layer(groups), *given, mask, **more)[0]
        output.square().sum().backward()
        return [output, *(tensor.grad for tensor in given if tensor.grad is not None)]

    expected = computed(sdpa_attention_forward)
    monkeypatch.setattr(attention, "sdpa_attention_forward", never)
    torch.testing.assert_close(computed(faster_attention), expected, rtol=1e-3, atol=1e-3)  # slopes up to 100


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("padded", [True, False])
def test_one_more_token_in_bfloat16(groups: int, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as far again from the exact output as the fused attention at the most, for the weights are rounded."""
    keys = 40
    mask = (torch.arange(keys) >= torch.tensor([0, 5])[:, None])[:, None, None] if padded else None
    exact = sdpa_attention_forward(layer(groups), *drawn(1, keys, groups, torch.float64), mask)[0]
    fused = sdpa_attention_forward(layer(groups), *drawn(1, keys, groups, torch.bfloat16), mask)[0]
    monkeypatch.setattr(attention, "sdpa_attention_forward", never)
    found = faster_attention(layer(groups), *drawn(1, keys, groups, torch.bfloat16), mask)[0]
    assert torch.dist(found.double(), exact) < 1.5 * torch.dist(fused.double(), exact)


def test_everything_else_is_left_to_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows in training, one token in float32, several tokens without gradients, a bias by position."""
    called = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *given, **_: called.append(given))
    long = [tensor.requires_grad_() for tensor in drawn(SHORT_TOKENS + 1, SHORT_TOKENS + 1, 1)]
    short = [tensor.requires_grad_() for tensor in drawn(4, 4, 1)]
    faster_attention(layer(1), *long, None)
    faster_attention(layer(1), *drawn(1, 9, 1), None)
    faster_attention(layer(1), *drawn(4, 4, 1, torch.bfloat16), None)
    faster_attention(layer(1), *short, None, position_bias=torch.zeros(1, HEADS, 4, 4))
    assert len(called) == 4
    faster_attention(layer(1), *short, None)
    assert len(called) == 4


@pytest.mark.parametrize("groups", [1, 3])
def test_scores_are_not_rounded(groups: int) -> None:
    """In bfloat16 its gradients are nearer to the exact ones than those of scores rounded to bfloat16, and no further
    from them than those of PyTorch's fused attention."""
    tokens = 40
    mask = torch.full((tokens, tokens), -1e9).triu(1)[None, None]
    slope = torch.randn(ROWS, tokens, HEADS, SIZE, generator=torch.Generator().manual_seed(1))

    def slopes(dtype: torch.dtype, way: Any) -> list[Tensor]:
        given = [tensor.requires_grad_() for tensor in drawn(tokens, tokens, groups, dtype)]
        output = way(layer(groups), *given, mask.to(dtype))[0]
        output.backward(slope.to(dtype))
        return [output] + [tensor.grad.double() for tensor in given if tensor.grad is not None]

    def rounding(_: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
        scores = query @ key.transpose(2, 3) / SIZE**0.5 + mask
        return ((scores.float().softmax(-1).to(value) @ value).transpose(1, 2),)

    exact = slopes(torch.float64, faster_attention)
    found, rounded, fused = (
        [torch.dist(a, b) / b.norm() for a, b in zip(slopes(torch.bfloat16, way), exact, strict=True)]
        for way in (faster_attention, rounding, sdpa_attention_forward)
    )
    for ours, theirs, library in zip(found, rounded, fused, strict=True):
        assert ours < 0.5 * theirs
        assert ours < 1.3 * library


def test_autocast_does_not_round_scores() -> None:
    """Training computes under autocast, which rounds what products are given."""
    given = drawn(5, 5, 1, torch.bfloat16)
    given[0].requires_grad_()
    alone = faster_attention(layer(1), *given, None)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(faster_attention(layer(1), *given, None)[0], alone)


def test_a_model_with_attention_of_its_own_keeps_it() -> None:
    """Falcon has code of its own for every name but "sdpa", to which a mask of ours would mean something else."""
    from transformers import FalconConfig, FalconForCausalLM

    torch.manual_seed(0)
    config = FalconConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    model = FalconForCausalLM(config).eval()
    ids = torch.tensor([[5, 9, 33, 12]])
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with FasterAttention(model).used():
            assert names(model) == {"sdpa"}
            assert torch.equal(model(input_ids=ids).logits, plain)


def test_what_it_does_not_know_is_left_to_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask for each head, and scores with a soft cap, which the fused one refuses."""
    called = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *given, **_: called.append(given))
    short = [tensor.requires_grad_() for tensor in drawn(4, 4, 3)]
    faster_attention(layer(3), *short, torch.zeros(ROWS, HEADS, 4, 4))
    faster_attention(layer(3), *short, None, softcap=30.0)
    assert len(called) == 2
