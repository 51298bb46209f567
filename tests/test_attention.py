"""Short rows train with attention in plain products on a processor; afterwards everything is as it was."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tiny_models import random_assistant, tiny_target
from unlogit.attention import SHORT, SHORT_TOKENS, StepAttention, short_attention

CPU = torch.device("cpu")


def names(*models: Any) -> set[str]:
    found = [module.config for model in models for module in model.modules() if hasattr(module, "config")]
    return {config._attn_implementation for config in found}


def test_short_rows_only_and_on_a_processor_only() -> None:
    target = tiny_target()
    view: Any = random_assistant(target).view
    attention = StepAttention(view)
    for tokens, device, expected in (
        (SHORT_TOKENS, CPU, SHORT),
        (SHORT_TOKENS + 1, CPU, "sdpa"),
        (8, torch.device("cuda"), "sdpa"),
    ):
        with attention.for_rows(tokens, device):
            assert names(view, target) == {expected}  # the blocks read the target's config, the view has its own
        assert names(view, target) == {"sdpa"}


def test_what_was_chosen_stays() -> None:
    """A model that was loaded with another attention keeps it."""
    target = tiny_target()
    target.set_attn_implementation("eager")
    with StepAttention(target).for_rows(8, CPU):
        assert names(target) == {"eager"}
    assert names(target) == {"eager"}


def test_it_is_set_back_after_an_error() -> None:
    target = tiny_target()
    with pytest.raises(ZeroDivisionError), StepAttention(target).for_rows(8, CPU):
        raise ZeroDivisionError
    assert names(target) == {"sdpa"}


def test_both_give_the_same() -> None:
    target = tiny_target()
    ids = torch.tensor([[5, 9, 33, 12], [8, 50, 17, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    plain = target(input_ids=ids, attention_mask=mask).logits
    with StepAttention(target).for_rows(4, CPU):
        found = target(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask.bool()], plain[mask.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 3])
def test_scores_are_not_rounded(groups: int) -> None:
    """In bfloat16 its gradients are nearer to the exact ones than those of scores rounded to bfloat16, and no further
    from them than those of PyTorch's fused attention."""
    generator = torch.Generator().manual_seed(0)
    heads, tokens, size = 6, 40, 16
    shapes = [(2, heads, tokens, size)] + [(2, heads // groups, tokens, size)] * 2
    drawn = [3 * torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
    mask = torch.full((tokens, tokens), -1e9).triu(1)[None, None]
    slope = torch.randn(2, tokens, heads, size, generator=generator)
    layer: Any = nn.Module().eval()
    layer.num_key_value_groups = groups

    def slopes(dtype: torch.dtype, attention: Any) -> list[torch.Tensor]:
        given = [tensor.to(dtype).requires_grad_() for tensor in drawn]
        output = attention(layer, *given, mask.to(dtype), scaling=None)[0]
        output.backward(slope.to(dtype))
        return [output] + [tensor.grad.double() for tensor in given if tensor.grad is not None]

    def plain(_: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any) -> Any:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
        scores = query @ key.transpose(2, 3) / size**0.5 + mask
        return (
            (scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value) @ value).transpose(
                1, 2
            ),
        )

    exact = slopes(torch.float64, plain)
    found, rounded, fused = (
        [torch.dist(a, b) / b.norm() for a, b in zip(slopes(torch.bfloat16, way), exact, strict=True)]
        for way in (short_attention, plain, sdpa_attention_forward)
    )
    for ours, theirs, library in zip(found, rounded, fused, strict=True):
        assert ours < 0.5 * theirs
        assert ours < 1.3 * library
