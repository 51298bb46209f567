"""Views of a decoder: what they share, that they leave the target alone, and which models are refused."""

import copy
from types import MethodType
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Qwen3NextConfig,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from support.tiny_models import COMMON, CONFIGS, DEPTH, VOCABULARY, random_assistant, tiny_target, truncated
from unlogit.errors import ModelError
from unlogit.model.assistant import GAIN_SPEED
from unlogit.model.decoder import anatomy, answer_logits, head_logits, linear_paths, replaced, with_blocks

IDS = torch.tensor([[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41]])


@pytest.fixture(params=list(CONFIGS))
def target(request: pytest.FixtureRequest) -> Any:
    return tiny_target(request.param)


def first_blocks(target: nn.Module, count: int) -> nn.Module:
    parts = anatomy(target)
    return with_blocks(target, list(getattr(target.get_submodule(parts.inner), parts.blocks))[:count])


@torch.no_grad()
def test_first_blocks_are_the_truncated_model(target: Any) -> None:
    """A view of 2 of 4 blocks computes what a model of 2 blocks with these weights does, and holds no other memory."""
    parts = anatomy(target)
    assert parts.depth == DEPTH
    before = target(IDS).logits
    view = first_blocks(target, 2)
    assistant = random_assistant(target, 2)
    for parameter in assistant.deltas.parameters():
        parameter.zero_()
    assistant.gain.fill_(1 / GAIN_SPEED)  # a gain of 1
    torch.testing.assert_close(view(IDS).logits, truncated(target, assistant)(IDS).logits)
    assert {p.data_ptr() for p in view.parameters()} < {p.data_ptr() for p in target.parameters()}
    assert torch.equal(target(IDS).logits, before)
    assert target.config.num_hidden_layers == DEPTH


@torch.no_grad()
def test_head_where_it_is_wanted(target: Any) -> None:
    """Three of twelve positions: the same logits as of the whole, soft-capping and scale included."""
    keep = torch.zeros_like(IDS, dtype=torch.bool)
    keep[0, 2] = keep[1, 0] = keep[1, 5] = True
    mask = torch.ones_like(IDS)
    logits = answer_logits(target, IDS, mask, keep)
    torch.testing.assert_close(logits, target(IDS, attention_mask=mask).logits[keep], atol=1e-5, rtol=1e-5)


def test_linear_paths() -> None:
    """Every linear layer of a block, GPT-2's transposed ones the right way round."""
    block = tiny_target("gpt2").transformer.h[0]
    assert linear_paths(block) == {
        "attn.c_attn": (32, 96),
        "attn.c_proj": (32, 32),
        "mlp.c_fc": (32, 128),
        "mlp.c_proj": (128, 32),
    }
    assert len(linear_paths(tiny_target("llama").model.layers[0])) == 7


@torch.no_grad()
def test_a_view_follows_its_target() -> None:
    """Into another type, and to weights loaded later."""
    target = tiny_target()
    view = first_blocks(target, 2)
    target.double()
    assert view(IDS).logits.dtype == torch.float64
    other = tiny_target(seed=9).double()
    target.load_state_dict(other.state_dict())
    torch.testing.assert_close(view(IDS).logits, first_blocks(other, 2)(IDS).logits)


def test_replaced_leaves_the_original() -> None:
    target = tiny_target()
    part = nn.Identity()
    view = replaced(target, {"model.layers.1.mlp.act_fn": part, "lm_head": part})
    assert view.get_submodule("model.layers.1.mlp.act_fn") is part
    assert view.get_submodule("model.layers.0") is target.get_submodule("model.layers.0")
    assert target.lm_head is not part
    assert target.model.layers[1].mlp.act_fn is not part


@torch.no_grad()
def test_head_of_a_scaled_model() -> None:
    """Gemma 2 caps its logits at 30: no hidden state passes that."""
    target = tiny_target("gemma2")
    logits = head_logits(target, 1e4 * torch.randn(3, 32))
    assert logits.abs().max() <= 30


@torch.no_grad()
@pytest.mark.parametrize("place", [cpu_offload, lambda model: dispatch_model(model, {"": "cpu"}, force_hooks=True)])
def test_placement_by_accelerate(place: Any) -> None:
    """Weights that accelerate's hooks bring in only while a layer runs reach the views as well."""
    plain = tiny_target()
    expected = first_blocks(plain, 2)(IDS).logits
    placed = place(copy.deepcopy(plain))
    torch.testing.assert_close(first_blocks(placed, 2)(IDS).logits, expected)
    torch.testing.assert_close(placed(IDS).logits, plain(IDS).logits)


class Counting(ModelHook):
    """What accelerate puts on a block to bring its inputs to the block's device; here it counts."""

    calls = 0

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return args, kwargs


@torch.no_grad()
def test_a_views_hook_runs_the_view() -> None:
    """A hooked block's view runs the hook once, and then its own part, not the original's."""
    target = tiny_target()
    before = target(IDS).logits
    hook = Counting()
    add_hook_to_module(target.model.layers[1], hook)
    view = replaced(target, {"model.layers.1.mlp.act_fn": nn.Identity()})
    assert not torch.allclose(view(IDS).logits, before, atol=0.1)
    assert hook.calls == 1
    assert torch.equal(target(IDS).logits, before)


@torch.no_grad()
def test_a_view_of_a_model_whose_forward_was_replaced() -> None:
    """Mixed precision binds a wrapped `forward` to the model itself; a view's runs the view, the head alone too."""
    target = tiny_target()
    keep = torch.ones(IDS.shape, dtype=torch.bool)
    plain, first = answer_logits(target, IDS, None, keep), first_blocks(target, 2)(IDS).logits
    calls = []

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(self)
        return type(self).forward(self, *args, **kwargs)

    target.forward = MethodType(wrapped, target)
    assert torch.equal(answer_logits(target, IDS, None, keep), plain)
    assert torch.equal(first_blocks(target, 2)(IDS).logits, first)
    assert len(calls) == 2
    assert target not in calls


def refused(model: nn.Module) -> str:
    with pytest.raises(ModelError, match=type(model).__name__) as caught:
        anatomy(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_encoder_decoder_is_refused() -> None:
    config = T5Config(vocab_size=VOCABULARY, d_model=16, d_ff=16, d_kv=8, num_layers=2, num_heads=2)
    assert "encoder-decoder" in refused(T5ForConditionalGeneration(config))


def test_state_spaces_are_refused() -> None:
    """Mamba, RWKV, and a model that mixes linear attention in: none has a key-value cache in every block."""
    mamba = MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4)
    assert "linear_attention" in refused(MambaForCausalLM(mamba))
    rwkv = RwkvConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16)
    assert "cache" in refused(RwkvForCausalLM(rwkv))
    mixed = Qwen3NextConfig(**{**COMMON, "head_dim": 8}, linear_num_key_heads=2, linear_num_value_heads=2,
                            num_experts=2, moe_intermediate_size=8, shared_expert_intermediate_size=8)  # fmt: skip
    assert "linear_attention" in refused(AutoModelForCausalLM.from_config(mixed))


def test_models_without_a_head_are_refused() -> None:
    assert "head" in refused(tiny_target().model)
