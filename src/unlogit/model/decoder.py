"""The anatomy of a decoder model, and views of it that share every weight.

A *view* is a shallow copy: the modules along one path are copied, their parameters, buffers and all other modules are
the target's own. So the target is never touched (no hooks, no replaced layers, no copied weights), a view follows the
target to another device, and each view is an ordinary transformers model with that model's own forward: embedding
scale, soft-capped logits and whatever else an architecture does come along without being known here.

Shape legend: B rows, T tokens, H hidden, V vocabulary, L blocks of the target, K blocks of an assistant,
N positions.
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from unlogit.errors import ModelError

ROUNDING_UNITS = {torch.float64: 256, torch.float32: 256, torch.float16: 16, torch.bfloat16: 16}
"""Units of rounding (``torch.finfo(dtype).eps``) that two orders of the same sums may differ by, after all blocks.

Random models of up to 32 blocks and of ten architectures differ by at most 8 in bfloat16 and float16. Those sum in
float32 and round the sums alone; float32 rounds within sums of thousands of terms, and 256 of its units are only 3e-5.
"""

KNOWN_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a decoder model stand, as dotted paths from the language model."""

    inner: str
    """The module that runs the blocks, such as ``model`` or ``transformer``."""
    blocks: str
    """Name of the list of blocks inside it, such as ``layers`` or ``h``."""
    norm: str
    """Name of the norm after the last block inside it, such as ``norm`` or ``ln_f``."""
    depth: int
    """Number of blocks, L."""


def anatomy(lm: Any) -> Anatomy:
    """Find blocks, norm and head of a causal language model of transformers.

    Raises:
        ModelError: the model is no decoder with a list of blocks, a norm and a head; says what is missing.
    """
    name = type(lm).__name__
    expected = "expected a decoder model of transformers with a list of blocks, a norm and a head"
    config = lm.config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder-decoder; {expected}: choose a causal language model")
    strange = set(getattr(config, "layer_types", None) or ()) - KNOWN_ATTENTION
    if strange:
        raise ModelError(f"{name} has {sorted(strange)} blocks; {expected}, each with attention")
    if not {"cache", "past_key_values"} & set(inspect.signature(type(lm).forward).parameters):
        raise ModelError(f"{name} keeps no key-value cache; {expected}, each with attention")
    inner = lm.get_decoder()
    if inner is lm or lm.get_output_embeddings() is None:
        raise ModelError(f"{name} has no inner model or no head; {expected}")
    depth = inner.config.get_text_config().num_hidden_layers  # a view's inner model has a config of its own
    lists = [n for n, m in inner.named_children() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if len(lists) != 1:
        raise ModelError(f"{name} has {len(lists)} lists of {depth} blocks; {expected}")
    norms = [n for n, m in inner.named_children() if "norm" in type(m).__name__.lower()]
    if not norms:
        raise ModelError(f"{name} has no norm after its blocks; {expected}")
    path = next(n for n, m in lm.named_modules() if m is inner)
    return Anatomy(path, lists[0], norms[-1], depth)


def blocks_of(lm: Any) -> list[nn.Module]:
    """Return the blocks of a language model or a view."""
    layout = anatomy(lm)
    return list(getattr(lm.get_submodule(layout.inner), layout.blocks))


def alike(logits: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether two ways that should give the same [..., V] do so at every position, but for rounding in ``dtype``.

    What differs at a position is measured against how much the logits of a position vary over V. A fault, such as a
    wrong mask or another row's states, makes them differ by about as much as they vary (1), so that there is a wide gap
    between it and what rounding does (``ROUNDING_UNITS``).
    Numbers that are not finite (a head may mask tokens with −∞) have to stand in the same places.
    """
    finite = expected.isfinite()
    if logits.shape != expected.shape or not torch.equal(logits.isfinite(), finite):
        return False
    logits, expected = (torch.where(finite, values, 0).cpu().double() for values in (logits, expected))
    spread = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)  # [..., V] → [...]
    tolerance = ROUNDING_UNITS[dtype] * torch.finfo(dtype).eps * spread.square().mean().sqrt()
    return bool(((logits - expected).norm(dim=-1) <= tolerance).all())


def linear_paths(block: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the linear layers of a block as ``{dotted path: (inputs, outputs)}``, quantised ones and Conv1D too."""
    sizes = {}
    for path, module in block.named_modules():
        if isinstance(module, nn.Linear):
            sizes[path] = (module.in_features, module.out_features)
        elif type(module).__name__ == "Conv1D":
            sizes[path] = (int(module.weight.shape[0]), int(module.weight.shape[1]))
    return sizes


def shallow(module: nn.Module) -> nn.Module:
    """Copy one module so that its children can be replaced; parameters, buffers and the children stay shared."""
    duplicate = copy.copy(module)
    duplicate.__dict__["_modules"] = dict(module._modules)
    for name, value in module.__dict__.items():  # mixed precision binds a `forward` to the original
        if isinstance(value, MethodType) and value.__self__ is module:
            duplicate.__dict__[name] = MethodType(value.__func__, duplicate)
    hook = duplicate.__dict__.pop("_hf_hook", None)
    if hook is not None:  # accelerate's device placement binds `forward` to the original: bind it to the copy
        from accelerate.hooks import add_hook_to_module

        for name in ("forward", "_old_forward"):
            duplicate.__dict__.pop(name, None)
        add_hook_to_module(duplicate, hook)
    return duplicate


def replaced(module: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """Return a view of ``module`` in which the submodules at the dotted paths of ``replacements`` are others."""
    view = shallow(module)
    deeper: dict[str, dict[str, nn.Module]] = {}
    for path, replacement in replacements.items():
        first, _, rest = path.partition(".")
        if rest:
            deeper.setdefault(first, {})[rest] = replacement
        else:
            view._modules[first] = replacement
    for first, replacements_below in deeper.items():
        child = view._modules[first]
        if child is None:
            raise KeyError(first)
        view._modules[first] = replaced(child, replacements_below)
    return view


def with_blocks(lm: nn.Module, blocks: Sequence[nn.Module], norm: nn.Module | None = None) -> nn.Module:
    """Return a view of the language model that runs ``blocks`` in place of its own (and ``norm`` if given)."""
    layout = anatomy(lm)
    prefix = f"{layout.inner}." if layout.inner else ""
    replacements: dict[str, nn.Module] = {f"{prefix}{layout.blocks}": nn.ModuleList(blocks)}
    if norm is not None:
        replacements[f"{prefix}{layout.norm}"] = norm
    view = replaced(lm, replacements)
    inner = view.get_submodule(layout.inner)
    inner.__dict__["config"] = with_depth(inner.config, len(blocks))
    return view


def with_depth(config: Any, depth: int) -> Any:
    """Return a copy of a model config for the first ``depth`` blocks."""
    shortened = copy.deepcopy(config)
    types = getattr(config, "layer_types", None)
    shortened.num_hidden_layers = depth
    if types is not None:
        shortened.layer_types = list(types[:depth])
    return shortened


class _PassThrough(nn.Module):
    """Stands for the inner model where only the head is to run."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        """Return the given hidden states as if blocks and norm had made them."""
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=inputs_embeds)


def head_view(lm: nn.Module) -> nn.Module:
    """Return a view of the model in which hidden states given as ``inputs_embeds`` go straight to the head."""
    return replaced(lm, {anatomy(lm).inner: _PassThrough()})


def view_logits(view: nn.Module, hidden: Tensor) -> Tensor:
    """Apply a ``head_view`` to hidden states [N, H], after the last norm; return logits [N, V]."""
    logits: Tensor = view(inputs_embeds=hidden[None], use_cache=False).logits[0]  # [1, N, H] → [N, V]
    return logits


def head_logits(lm: nn.Module, hidden: Tensor) -> Tensor:
    """Apply the model's head, with whatever its architecture does after it, to hidden states.

    Args:
        hidden: [N, H], after the last norm.

    Returns:
        Logits [N, V].
    """
    return view_logits(head_view(lm), hidden)


def answer_hidden(
    lm: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    keep: Tensor,
    position_ids: Tensor | None = None,
) -> Tensor:
    """Return the hidden states [N, H] that the head reads, at the N positions where ``keep`` [B, T] is True."""
    inner = lm.get_submodule(anatomy(lm).inner)
    positions = {} if position_ids is None else {"position_ids": position_ids}  # not every architecture has these
    out = inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **positions)
    hidden: Tensor = out.last_hidden_state[keep]  # [B, T, H] → [N, H]
    return hidden


def answer_logits(
    lm: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    keep: Tensor,
    position_ids: Tensor | None = None,
) -> Tensor:
    """Return the logits at some positions: the head is not computed anywhere else.

    Args:
        input_ids: [B, T].
        attention_mask: [B, T], 4-D, or None where no row is padded.
        keep: [B, T], True at the positions whose logits are returned.
        position_ids: [B, T]; not given, the model makes its own.

    Returns:
        Logits [N, V] of the N kept positions, row by row.
    """
    return head_logits(lm, answer_hidden(lm, input_ids, attention_mask, keep, position_ids))
