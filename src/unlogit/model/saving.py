"""The folder of an unlearned model: the assistants and a pointer to the target, never the target's own weights.

``config.json`` is written last: without it the folder is no model.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from transformers import GenerationConfig

from unlogit.errors import ConfigError, ModelError
from unlogit.files import atomic_file
from unlogit.model.assistant import Assistant
from unlogit.model.configuration import UnlearnedConfig
from unlogit.model.recorded_target import absolute_name, load_recorded_target, remember_target
from unlogit.settings.options import CombinationOptions


def new_config(
    target: Any, assistants: Sequence[Assistant], weights: Sequence[float], combination: CombinationOptions
) -> UnlearnedConfig:
    """Return the config of a target with branches.

    Raises:
        ConfigError: as many weights as assistants not given.
    """
    if len(weights) != len(assistants):
        raise ConfigError(f"{len(weights)} weights for {len(assistants)} assistants; expected one for each")
    names = ["assistant"] if len(assistants) == 1 else [f"assistant-{i}" for i in range(len(assistants))]
    return UnlearnedConfig(
        target_name=absolute_name(target.name_or_path),
        target_config=target.config,
        branches=[
            {"folder": name, "weight": weight, **asdict(assistant.settings)}
            for name, weight, assistant in zip(names, weights, assistants, strict=True)
        ],
        **asdict(combination),
        architectures=["UnlearnedForCausalLM"],
    )


def refuse_upload(*_: Any, **__: Any) -> NoReturn:
    """Stand in for ``push_to_hub``: the assistant is secret.

    Raises:
        ModelError: always.
    """
    raise ModelError(
        "the assistant has memorised what must be forgotten; expected it to stay here: save the model by "
        "save_pretrained(folder) alone, and upload that yourself if everyone may read it"
    )


def write_unlearned(model: Any, folder: Path) -> None:
    """Write the assistants (each 0600), the generation settings and a config that points to the target.

    Raises:
        ModelError: the target has no name to point to.
    """
    if not model.config.target_name:
        raise ModelError(
            "the target was made in memory and has no name to point to; expected a folder or hub id: save it and "
            "set model.config.target_name to its folder"
        )
    for branch, assistant in zip(model.config.branches, model.branches, strict=True):
        assistant.save(folder / branch["folder"])
    model.generation_config.save_pretrained(folder)
    model.config.target_name = absolute_name(model.config.target_name)
    with atomic_file(folder / "config.json") as temporary:
        temporary.write_text(model.config.to_json_string(), encoding="utf-8")


def read_unlearned_config(folder: Path, config: UnlearnedConfig | None, overrides: dict[str, Any]) -> UnlearnedConfig:
    """Return the config of an unlearned model's folder, with ``overrides`` in place of what is saved.

    Args:
        folder: what ``write_unlearned`` wrote.
        config: the folder's config, if read already.
        overrides: values of the config's fields.

    Raises:
        ModelError: there is no config in ``folder``.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"no config.json in {folder}; expected a folder that `unlogit train` made")
    if config is None:
        config = UnlearnedConfig.from_pretrained(folder)
    for name, value in overrides.items():
        setattr(config, name, value)
    return config


def read_target(folder: Path, config: UnlearnedConfig, target: Any, **kwargs: Any) -> Any:
    """Return the target of the unlearned model in ``folder``: ``target`` itself if it is a model, else by its name.

    Raises:
        ModelError: there is no model by that name.
    """
    if target is not None and not isinstance(target, (str, Path)):
        return target
    if config._attn_implementation is not None:
        kwargs.setdefault("attn_implementation", config._attn_implementation)
    return load_recorded_target(str(target or config.target_name), folder, **kwargs)


def read_assistants(folder: Path, config: UnlearnedConfig, target: Any) -> list[Assistant]:
    """Return the assistants of the unlearned model in ``folder``, on its target, whose place is recorded if it moved.

    Raises:
        ModelError: an assistant is missing or damaged, or was trained on another target.
    """
    assistants = [Assistant.load(folder / branch["folder"], target) for branch in config.branches]
    for assistant in assistants:
        assistant.cast_deltas(target.dtype)
    if not getattr(target, "is_quantized", False):  # whose weights cannot be recognised
        remember_target(folder, config.target_name, target.name_or_path)
    return assistants


def read_generation_config(folder: Path, default: Any) -> Any:
    """Return the generation settings of the unlearned model in ``folder``, ``default`` where it has none."""
    return GenerationConfig.from_pretrained(folder) if (folder / "generation_config.json").is_file() else default
