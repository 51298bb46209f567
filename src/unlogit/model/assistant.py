"""The assistant: the first K blocks of the target with LoRA on every linear layer, and the target's norm and head.

Everything but the low-rank deltas is the target's own memory (with ``adapter: full``, the K blocks and the norm are a
copy that trains whole). Only the adapter is registered as parameters: what the optimiser sees, what checkpoints hold
and what is saved is the adapter alone, as safetensors, never pickle.

The assistant memorises what must be forgotten: its file is as secret as the forget set and is written 0600.

Shape legend: B rows, T tokens, H hidden, V vocabulary, K blocks, R rank.
"""

import copy
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlogit.errors import ConfigError, ModelError, nearest
from unlogit.files import atomic_file, write_json
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
CONFIG_FILE = "assistant.json"


@dataclass(frozen=True)
class AssistantConfig:
    """What is needed to rebuild an assistant on its target."""

    num_layers: int
    """K, the number of blocks."""
    adapter: str
    """``lora`` or ``full``."""
    rank: int
    lora_alpha: float
    target_fingerprint: str
    """See ``fingerprint``."""
    target_name: str
    """Name of the target when the assistant was made, for messages."""
    target_signs: str = ""
    """The same digest of the weights' signs alone, for a target loaded in float16."""


class LowRank(nn.Module):
    """A low-rank delta for one linear layer: x [..., inputs] → scale · B A x [..., outputs]."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, device: torch.device) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": torch.float32}
        self.scale = scale
        self.lora_A = nn.Parameter(torch.empty(rank, inputs, **place))
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank, **place))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the delta, in the type of ``x`` and where ``x`` is."""
        a, b = self.lora_A.to(x.device, x.dtype), self.lora_B.to(x.device, x.dtype)
        delta: Tensor = nn.functional.linear(nn.functional.linear(x, a), b)
        return delta if self.scale == 1 else delta * self.scale

    def add_to(self, out: Tensor, x: Tensor) -> None:
        """Add the delta of ``x`` to ``out`` [..., outputs], which lies in one piece: fewer and smaller steps than with
        ``forward``, and rounded once."""
        a, b = self.lora_A.to(x.device, x.dtype), self.lora_B.to(out.device, out.dtype)
        low = nn.functional.linear(x, a).to(out.dtype)
        out.view(-1, out.shape[-1]).addmm_(low.view(-1, low.shape[-1]), b.mT, alpha=self.scale)


class WithDelta(nn.Module):
    """A linear layer of the target with an assistant's delta added: stands in a view, not in the target."""

    def __init__(self, base: nn.Module, delta: LowRank) -> None:
        super().__init__()
        self.base, self.delta = base, delta

    def forward(self, x: Tensor) -> Tensor:
        """Return base(x) + delta(x)."""
        out: Tensor = self.base(x) + self.delta(x)
        return out


def place_beside(block: nn.Module) -> torch.device:
    """Return the device of a block's weights; the CPU where they are offloaded and come in only while it runs."""
    device = next(block.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


GAIN_SPEED = 10.0
"""How much faster than its parameter a gain moves: it has to travel from ``start_gain`` to about 1, further than Adam
would carry a parameter in a few hundred steps at a learning rate that suits the deltas."""


class GainNorm(nn.Module):
    """The norm before the head, followed by the assistant's own gain for each channel.

    The early exit of a target is far from flat, and mending that takes hundreds of steps; with a small gain to start
    from, the assistant starts flat and grows only what it has to remember.
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
        parts = anatomy(target)
        if not 0 < config.num_layers <= parts.depth:
            raise ModelError(
                f"the assistant has {config.num_layers} layers; expected between 1 and the target's "
                f"{parts.depth}: lower num_layers"
            )
        inner = target.get_submodule(parts.inner)
        own_blocks = blocks_of(target)[: config.num_layers]
        if config.adapter == "full":
            self.blocks = nn.ModuleList(copy.deepcopy(block).float() for block in own_blocks)
            self.norm = copy.deepcopy(getattr(inner, parts.norm)).float()
            self.requires_grad_(True)
            views, norm = list(self.blocks), self.norm
        else:
            self.deltas = nn.ModuleList(self._new_deltas(block) for block in own_blocks)
            views = [self._block_view(i, block, WithDelta) for i, block in enumerate(own_blocks)]
            norm = getattr(inner, parts.norm)
        hidden = target.get_output_embeddings().weight.shape[1]
        self.gain = nn.Parameter(torch.full((hidden,), 1 / GAIN_SPEED, device=place_beside(own_blocks[0])))
        self.view: nn.Module
        view = with_blocks(target, views, GainNorm(norm, self.gain))
        self.__dict__["view"] = view  # not registered: its other parameters are the target's

    def _new_deltas(self, block: nn.Module) -> nn.ModuleDict:
        linears = linear_paths(block)
        if not linears:
            raise ModelError(f"{type(block).__name__} has no linear layer; expected at least one: use adapter full")
        place = place_beside(block)
        scale = self.settings.lora_alpha / self.settings.rank
        return nn.ModuleDict(
            {p.replace(".", "/"): LowRank(i, o, self.settings.rank, scale, place) for p, (i, o) in linears.items()}
        )

    def _block_view(self, index: int, block: nn.Module, wrap: Callable[[nn.Module, LowRank], nn.Module]) -> nn.Module:
        """Return a view of the target's block ``index`` whose linear layers are ``wrap(layer, delta)``."""
        deltas: Any = self.deltas[index]
        paths = {key.replace("/", "."): delta for key, delta in deltas.items()}
        return replaced(block, {path: wrap(block.get_submodule(path), delta) for path, delta in paths.items()})

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


def load_config(folder: Path) -> AssistantConfig:
    """Read an assistant's config.

    Raises:
        ModelError: the folder holds no assistant, or its config is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        raise ModelError(f"no {CONFIG_FILE} in {folder}; expected a trained assistant: run `unlogit train` first")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON ({error}); expected {_CONFIG_MEND}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds a {type(values).__name__}; expected {_CONFIG_MEND}")
    if values.get("lora_first_layer") == 0:  # written by 0.1, when LoRA could begin at a later block
        del values["lora_first_layer"]
    if problems := _config_problems(values):
        raise ModelError(f"{path}: {'; '.join(problems)}; expected {_CONFIG_MEND}")
    return AssistantConfig(**values)


_CONFIG_MEND = "the settings of an assistant as `unlogit train` wrote them: copy the whole folder again, or train again"
_CONFIG_TYPES: dict[Any, tuple[type, ...]] = {int: (int,), float: (float, int), str: (str,)}


def _config_problems(values: dict[str, Any]) -> list[str]:
    """Say what is missing, unknown, of the wrong type or out of range in a parsed config."""
    known = {field.name: field for field in fields(AssistantConfig)}
    problems = [f"{name} is unknown{nearest(name, list(known))}" for name in values if name not in known]
    for name, field in known.items():
        if name not in values:
            problems += [f"{name} is missing"] if field.default is MISSING else []
        elif not isinstance(values[name], _CONFIG_TYPES[field.type]) or isinstance(values[name], bool):
            problems.append(f"{name} is {values[name]!r}")
    if not problems:
        problems += [f"adapter is {values['adapter']!r}"] if values["adapter"] not in ("lora", "full") else []
        problems += [f"rank is {values['rank']}"] if values["rank"] < 1 else []
    return problems


SAMPLES_A_TENSOR = 1024


def fingerprint(target: nn.Module, signs: bool = False) -> str:
    """Return a digest of a model's weights: 16 hexadecimal digits of SHA-256.

    Up to 1,024 evenly spaced values of every floating-point parameter count, rounded to bfloat16, so that the digest
    is the same in float32, bfloat16 and float64, and a large model takes no longer than a second. With ``signs`` only
    their signs count: rounding to float16 first would change some of the rounded values, but no sign.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(target.named_parameters()):
        if not parameter.is_floating_point():
            continue
        flat = parameter.detach().flatten()
        step = max(1, flat.numel() // SAMPLES_A_TENSOR)
        sample = flat[::step]
        values = sample.signbit() if signs else sample.to(torch.bfloat16).view(torch.int16)
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_fingerprint(config: AssistantConfig, target: nn.Module) -> None:
    """Refuse a target that the assistant was not trained on.

    A quantised or offloaded target passes: its weights are packed or elsewhere and cannot be compared.
    """
    if getattr(target, "is_quantized", False) or any(parameter.is_meta for parameter in target.parameters()):
        return
    half = any(parameter.dtype == torch.float16 for parameter in target.parameters())
    if half and fingerprint(target, signs=True) == config.target_signs:
        return
    found = fingerprint(target)
    if found != config.target_fingerprint:
        raise ModelError(
            f"the assistant belongs to {config.target_name!r} (fingerprint {config.target_fingerprint}), but the "
            f"target is {target.name_or_path!r} (fingerprint {found}); expected the target that it was trained on: "
            "give that model's folder or hub id"
        )
