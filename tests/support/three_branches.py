"""An unlearned model of three branches on a tiny target, and what its tests look at."""

from typing import Any

import pytest
import torch

from support.tiny_models import random_assistant, tiny_target
from unlogit import UnlearnedForCausalLM
from unlogit.errors import UnlogitError

IDS = torch.tensor([[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41]])
WEIGHTS = [1.0, -0.5, 0.5]


def three_branches(target: Any) -> list[Any]:
    """LoRA on 1 and on 3 blocks, whole blocks 2."""
    return [
        random_assistant(target, 1, seed=1),
        random_assistant(target, 3, seed=2),
        random_assistant(target, 2, adapter="full", seed=3),
    ]


def build(**settings: Any) -> Any:
    target = tiny_target()
    return UnlearnedForCausalLM.build(target, three_branches(target), WEIGHTS, **settings)


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    logits: torch.Tensor = model(IDS, use_cache=False).logits
    return logits


def message_of(error: type[UnlogitError], call: Any) -> str:
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
