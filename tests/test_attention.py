"""Short rows train with attention in plain products on a processor; afterwards everything is as it was."""

from typing import Any

import pytest
import torch

from tiny_models import random_assistant, tiny_target
from unlogit.attention import EAGER_TOKENS, StepAttention

CPU = torch.device("cpu")


def names(*models: Any) -> set[str]:
    found = [module.config for model in models for module in model.modules() if hasattr(module, "config")]
    return {config._attn_implementation for config in found}


def test_short_rows_only_and_on_a_processor_only() -> None:
    target = tiny_target()
    view: Any = random_assistant(target).view
    attention = StepAttention(view)
    for tokens, device, expected in (
        (EAGER_TOKENS, CPU, "eager"),
        (EAGER_TOKENS + 1, CPU, "sdpa"),
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
