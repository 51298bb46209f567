"""The assistant: the first K blocks of the target with LoRA on every linear layer, and the target's norm and head.

Everything but the low-rank deltas is the target's own memory (with ``adapter: full``, the K blocks and the norm are a
copy that trains whole). Only the adapter is registered as parameters: what the optimiser sees, what checkpoints hold
and what is saved is the adapter alone, as safetensors, never pickle.

The assistant memorises what must be forgotten: its file is as secret as the forget set and is written 0600.

Shape legend: B rows, T tokens, H hidden, V vocabulary, K blocks, R rank.
"""

import copy
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlogit.errors import ConfigError, ModelError
from unlogit.files import atomic_file, write_json
from unlogit.model.assistant_config import (
    CONFIG_FILE,
    AssistantConfig,
    check_fingerprint,
    fingerprint,
    load_config,
)
from unlogit.model.decoder import (
    anatomy,
    answer_hidden,
    blocks_of,
    head_logits,
    linear_paths,
    replaced,
    with_blocks,
)
from unlogit.settings.options import AssistantOptions

WEIGHTS_FILE = "assistant.safetensors"


class LowRank(nn.Module):
    """A low-rank delta for one linear layer: x [..., inputs] → scale · B A x [..., outputs]."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, device: torch.device) -> None:
        super().__init__()
        self.scale = scale
        self.lora_A = nn.Parameter(torch.empty(rank, inputs, device=device, dtype=torch.float32))
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank, device=device, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the delta, in the type of ``x`` and where ``x`` is."""
        a, b = self.lora_A.to(x.device, x.dtype), self.lora_B.to(x.device, x.dtype)  # [R, inputs], [outputs, R]
        delta: Tensor = nn.functional.linear(nn.functional.linear(x, a), b)
        return delta if self.scale == 1 else delta * self.scale

    def add_to(self, out: Tensor, x: Tensor) -> None:
        """Add the delta of ``x`` to ``out`` [..., outputs], which lies in one piece."""
        a, b = self.lora_A.to(x.device, x.dtype), self.lora_B.to(out.device, out.dtype)
        low = nn.functional.linear(x, a).to(out.dtype)  # [..., inputs] → [..., R]
        low, out = low.view(-1, low.shape[-1]), out.view(-1, out.shape[-1])  # [N, R], [N, outputs]
        out.addmm_(low, b.mT, alpha=self.scale)


class WithDelta(nn.Module):
    """A linear layer of the target with an assistant's delta added: stands in a view, not in the target."""

    def __init__(self, base: nn.Module, delta: LowRank) -> None:
        super().__init__()
        self.base, self.delta = base, delta

    def forward(self, x: Tensor) -> Tensor:
        """Return base(x) + delta(x)."""
        out: Tensor = self.base(x) + self.delta(x)
        return out


def device_beside(block: nn.Module) -> torch.device:
    """Return the device of a block's weights; the CPU where they are offloaded and come in only while it runs."""
    device = next(block.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


GAIN_SPEED = 10.0
"""How much faster than its parameter a gain moves: it has to travel from ``start_gain`` to about 1, further than Adam
would carry a parameter in a few hundred steps at a learning rate that suits the deltas."""


class GainNorm(nn.Module):
    """The norm before the head, followed by the assistant's own gain for each channel.

    The early exit of a target is far from uniform, and training that away takes hundreds of steps. With a small gain
    the assistant starts near uniform and grows only what it has to remember.
    """

    def __init__(self, norm: nn.Module, gain: nn.Parameter) -> None:
        super().__init__()
        self.norm, self.gain = norm, gain

    def forward(self, x: Tensor) -> Tensor:
        """Return gain · norm(x): [..., H] → [..., H], in the type of the norm."""
        return self.scale(self.norm(x))

    def scale(self, normed: Tensor) -> Tensor:
        """Return gain · normed."""
        return normed * (GAIN_SPEED * self.gain).to(normed.device, normed.dtype)


class Assistant(nn.Module):
    """The trainable adapter of one target; ``view`` is the assistant as a language model of K blocks.

    With ``adapter: lora``, ``deltas[i]`` maps a linear layer's path in block i (dots as slashes) to its ``LowRank``.
    With ``adapter: full``, ``blocks`` and ``norm`` are copies of the target's. Both have a ``gain`` [H] (``GainNorm``).
    """

    def __init__(self, target: Any, config: AssistantConfig) -> None:
        super().__init__()
        self.settings = config
        layout = anatomy(target)
        if not 0 < config.num_layers <= layout.depth:
            raise ModelError(
                f"the assistant has {config.num_layers} layers; expected between 1 and the target's "
                f"{layout.depth}: lower num_layers"
            )
        inner = target.get_submodule(layout.inner)
        blocks = blocks_of(target)[: config.num_layers]
        if config.adapter == "full":
            self.blocks = nn.ModuleList(copy.deepcopy(block).float() for block in blocks)
            self.norm = copy.deepcopy(getattr(inner, layout.norm)).float()
            self.requires_grad_(True)
            views, norm = list(self.blocks), self.norm
        else:
            self.deltas = nn.ModuleList(self._new_deltas(block) for block in blocks)
            views = [self._block_view(i, block) for i, block in enumerate(blocks)]
            norm = getattr(inner, layout.norm)
        hidden = target.get_output_embeddings().weight.shape[1]
        self.gain = nn.Parameter(torch.full((hidden,), 1 / GAIN_SPEED, device=device_beside(blocks[0])))
        self.view: nn.Module
        view = with_blocks(target, views, GainNorm(norm, self.gain))
        self.__dict__["view"] = view  # not registered: its other parameters are the target's

    def _new_deltas(self, block: nn.Module) -> nn.ModuleDict:
        linears = linear_paths(block)
        if not linears:
            raise ModelError(f"{type(block).__name__} has no linear layer; expected at least one: use adapter full")
        device = device_beside(block)
        scale = self.settings.lora_alpha / self.settings.rank
        return nn.ModuleDict(
            {p.replace(".", "/"): LowRank(i, o, self.settings.rank, scale, device) for p, (i, o) in linears.items()}
        )

    def _block_view(self, index: int, block: nn.Module) -> nn.Module:
        """Return a view of the target's block ``index`` with a delta added to each of its linear layers."""
        deltas: Any = self.deltas[index]
        paths = {key.replace("/", "."): delta for key, delta in deltas.items()}
        return replaced(block, {path: WithDelta(block.get_submodule(path), delta) for path, delta in paths.items()})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """Return the assistant's logits [N, V] at the N positions where ``keep`` [B, T] is True."""
        return head_logits(self.view, self.hidden(input_ids, attention_mask, keep))

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """Return what the head makes those logits of, [N, H]."""
        return answer_hidden(self.view, input_ids, attention_mask, keep)

    def cast_deltas(self, dtype: torch.dtype) -> None:
        """Keep the deltas in the type that they are computed in: nothing changes but their memory. Not for training."""
        if self.settings.adapter == "lora":
            self.deltas.to(dtype)  # the gain stays, which is multiplied before it is cast

    def save(self, folder: Path) -> None:
        """Write the adapter (0600) and its config into ``folder``."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        with atomic_file(folder / WEIGHTS_FILE, mode=0o600) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        write_json(folder / CONFIG_FILE, asdict(self.settings))

    @classmethod
    def load(cls, folder: Path, target: nn.Module) -> "Assistant":
        """Rebuild an assistant on its target.

        Raises:
            ModelError: no assistant in ``folder``, its files are damaged, or it was trained on another target.
        """
        config = load_config(folder)
        if not (folder / WEIGHTS_FILE).exists():
            raise ModelError(f"no {WEIGHTS_FILE} in {folder}; expected it beside {CONFIG_FILE}: copy the whole folder")
        check_fingerprint(config, target)
        assistant = cls(target, config)
        try:
            assistant.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except (SafetensorError, RuntimeError) as error:  # cut off, another file, or tensors of other names or shapes
            raise ModelError(
                f"{folder / WEIGHTS_FILE} cannot be used ({' '.join(str(error).split())[:200]}); expected the whole "
                f"weights of the adapter that {CONFIG_FILE} describes: copy the whole folder again, or train again"
            ) from error
        return assistant.eval()


def new_assistant(target: nn.Module, options: AssistantOptions, target_name: str) -> Assistant:
    """Make an untrained assistant: its deltas are zero, so it starts as the target's early exit, times start_gain."""
    if options.start_gain <= 0:
        raise ConfigError(f"start_gain is {options.start_gain}; expected more than 0 (1 starts as the early exit is)")
    depth = anatomy(target).depth
    layers = options.num_layers
    count = options.blocks(depth)
    if layers >= 1 and count != layers:
        raise ModelError(f"num_layers is {layers}; expected a whole number, or a share of the depth below 1")
    config = AssistantConfig(
        num_layers=count,
        adapter=options.adapter,
        rank=options.rank,
        lora_alpha=options.lora_alpha,
        target_fingerprint=fingerprint(target),
        target_name=target_name,
        target_signs=fingerprint(target, signs=True),
    )
    assistant = Assistant(target, config)
    nn.init.constant_(assistant.gain, options.start_gain / GAIN_SPEED)
    return assistant
