"""What decides whether a model runs fused: small faults are seen, rounding is not, and the choice is said."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support.tiny_models import CONFIGS, random_assistant, tiny_target
from unlogit import UnlearnedForCausalLM
from unlogit.model import probe
from unlogit.model.decoder import ROUNDING_UNITS, alike
from unlogit.model.probe import fusing_problem


class MixesRows(nn.Module):
    """A layer that lets a hundredth of a batch's first row into all others."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + 0.01 * self.layer(x[:1])


def model_of(architecture: str, dtype: torch.dtype) -> tuple[Any, list[Any]]:
    target = tiny_target(architecture).to(dtype)
    return target, [random_assistant(target, 1), random_assistant(target, 3, seed=2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_rounding_is_no_fault(architecture: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the type of the model, as for those too large for a copy."""
    monkeypatch.setattr(probe, "COPY_PARAMETERS", 0)
    assert fusing_problem(*model_of(architecture, dtype)) == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_fault_of_a_hundredth_is_seen(dtype: torch.dtype, caplog: pytest.LogCaptureFixture) -> None:
    """In bfloat16 too, whose own rounding would hide it: the comparison is in float32."""
    target, assistants = model_of("llama", dtype)
    block = target.model.layers[3]  # above both assistants: the rows of the target alone
    block.mlp.down_proj = MixesRows(block.mlp.down_proj)
    assert fusing_problem(target, assistants) == ""  # with itself: the target's rows come first in either way
    target.model.layers[0].mlp = MixesRows(target.model.layers[0].mlp)
    assert "rows" in fusing_problem(target, [random_assistant(target, 1)])
    model = UnlearnedForCausalLM.build(target, [random_assistant(target, 2)])
    assert model.mode == "shared"
    assert "shared, not fused" in caplog.text


def test_what_was_chosen_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="unlogit"):
        target, assistants = model_of("llama", torch.float32)
        assert UnlearnedForCausalLM.build(target, assistants).mode == "fused"
    assert "Llama" in caplog.text
    assert "fused" in caplog.text


def test_the_model_stays_as_it_was() -> None:
    """The float32 comparison is made on a copy."""
    target, assistants = model_of("llama", torch.bfloat16)
    types = {parameter.dtype for parameter in target.parameters()}
    weights = target.model.layers[0].mlp.up_proj.weight.data_ptr()
    assert fusing_problem(target, assistants) == ""
    assert types == {parameter.dtype for parameter in target.parameters()} == {torch.bfloat16}
    assert target.model.layers[0].mlp.up_proj.weight.data_ptr() == weights
    assert {parameter.dtype for parameter in assistants[0].parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", list(ROUNDING_UNITS), ids=str)
def test_alike_by_hand(dtype: torch.dtype) -> None:
    """Two positions of logits (1, −1), whose spread is √2. One position off by half and by twice what is allowed."""
    expected = torch.tensor([[1.0, -1.0], [1.0, -1.0]], dtype=torch.float64)
    allowed = ROUNDING_UNITS[dtype] * torch.finfo(dtype).eps * 2**0.5
    off = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert alike(expected + 0.5 * allowed * off, expected, dtype)
    assert not alike(expected + 2 * allowed * off, expected, dtype)
    masked = expected.clone()
    masked[0, 0] = -torch.inf
    assert alike(masked, masked, dtype)
    assert not alike(masked, expected, dtype)
    assert not alike(expected[:1], expected, dtype)
