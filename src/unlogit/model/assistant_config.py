"""What is recorded of an assistant: ``assistant.json``, read strictly, and the fingerprint of the target it belongs to.

An assistant on another target gives noise without an error, so the target is recognised by its weights, not its name.
"""

import hashlib
import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unlogit.errors import ModelError, nearest

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
        raise ModelError(f"{path} is not JSON ({error}); expected {_EXPECTED}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds a {type(values).__name__}; expected {_EXPECTED}")
    first, depth = values.pop(_FIRST_BLOCK, 0), values.get("num_layers")
    if not isinstance(first, int) or first < 0 or (isinstance(depth, int) and first >= max(1, depth)):
        raise ModelError(f"{path}: {_FIRST_BLOCK} is {first!r}; expected {_EXPECTED}")
    if problems := _config_problems(values):
        raise ModelError(f"{path}: {'; '.join(problems)}; expected {_EXPECTED}")
    return AssistantConfig(**values)


def blocks_without_deltas(folder: Path) -> int:
    """Return how many of the first blocks have no deltas in an assistant's file: 0 unless version 0.1 wrote it."""
    count: int = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get(_FIRST_BLOCK, 0)
    return count


_FIRST_BLOCK = "lora_first_layer"  # written by 0.1, where LoRA could begin at a later block
_EXPECTED = "the settings of an assistant as `unlogit train` wrote them: copy the whole folder again, or train again"
_CONFIG_TYPES: dict[Any, tuple[type, ...]] = {int: (int,), float: (float, int), str: (str,)}


def _config_problems(values: dict[str, Any]) -> list[str]:
    """Say what is missing, unknown, of the wrong type or out of range in a parsed config."""
    by_name = {field.name: field for field in fields(AssistantConfig)}
    problems = [f"{name} is unknown{nearest(name, list(by_name))}" for name in values if name not in by_name]
    for name, field in by_name.items():
        if name not in values:
            problems += [f"{name} is missing"] if field.default is MISSING else []
        elif not isinstance(values[name], _CONFIG_TYPES[field.type]) or isinstance(values[name], bool):
            problems.append(f"{name} is {values[name]!r}")
    if not problems:
        problems += [f"adapter is {values['adapter']!r}"] if values["adapter"] not in ("lora", "full") else []
        problems += [f"rank is {values['rank']}"] if values["rank"] < 1 else []
    return problems


SAMPLES_PER_TENSOR = 1024


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
        weights = parameter.detach().flatten()
        step = max(1, weights.numel() // SAMPLES_PER_TENSOR)
        sample = weights[::step]
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
    digest = fingerprint(target)
    if digest != config.target_fingerprint:
        raise ModelError(
            f"the assistant belongs to {config.target_name!r} (fingerprint {config.target_fingerprint}), but the "
            f"target is {target.name_or_path!r} (fingerprint {digest}); expected the target that it was trained on: "
            "give that model's folder or hub id"
        )
