"""The YAML form of ``RunConfig``: what ``unlogit run`` reads and what stands in every run folder as ``config.yaml``.

Strict: an unknown key is an error that names the nearest. Every section and every key may be left out, except that a
run needs an output and a target.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from unlogit.errors import ConfigError, nearest
from unlogit.files import atomic_file
from unlogit.settings.flags import typed
from unlogit.settings.options import (
    AssistantOptions,
    CombinationOptions,
    DataOptions,
    EvaluateOptions,
    PickOptions,
    RunConfig,
    TrainOptions,
)
from unlogit.settings.retired import SETTINGS_VERSION, up_to_date

SECTIONS: dict[str, type] = {
    "data": DataOptions,
    "assistant": AssistantOptions,
    "train": TrainOptions,
    "combination": CombinationOptions,
    "pick": PickOptions,
    "evaluate": EvaluateOptions,
}
"""The sections of a config, by key."""

_TOP = [field.name for field in fields(RunConfig)]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a config file as a tree of typed values; what the file leaves out is not there.

    Raises:
        ConfigError: the file is missing, is not YAML, has unknown keys, or values of the wrong type.
    """
    return tree_of(load_yaml(path), str(path))


def load_yaml(path: Path) -> dict[Any, Any]:
    """Read a YAML file of keys and values, whatever they are.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something else.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; expected a YAML file of settings: check the path")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML ({error}); expected `key: value` lines: fix it") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no settings; expected `key: value` lines with {', '.join(_TOP)}: write some")
    return tree


def tree_of(tree: Mapping[Any, Any], where: str, *, recorded: bool = False) -> dict[str, Any]:
    """Return a tree of a config's keys with typed values; ``where`` stands before a key in messages.

    Raises:
        ConfigError: unknown keys (all of them are said), or values of the wrong type.
    """
    tree = up_to_date(tree, where, recorded=recorded)
    if unknown := [str(name) for name in tree if name not in _TOP]:
        problems = "; ".join(f"{where}: {name} is unknown{_near(name)}" for name in unknown)
        raise ConfigError(f"{problems}; expected one of {', '.join(_TOP)}: fix or remove it")
    for name, value in tree.items():
        expected_type = dict if name in SECTIONS else str
        if not isinstance(value, expected_type):
            kind = "a section of `key: value` lines" if expected_type is dict else "text"
            raise ConfigError(f"{where}: {name} is {value!r}; expected {kind}: write it so, or leave it out")
    return {
        name: typed(SECTIONS[name], value, f"{where}: {name}.") if name in SECTIONS else value
        for name, value in tree.items()
    }


def _near(name: str) -> str:
    """Name the nearest key at the top, or the section that a key would belong to."""
    homes = [section for section, options in SECTIONS.items() if name in {field.name for field in fields(options)}]
    return f" there (it belongs under {' or '.join(homes)})" if homes else nearest(name, _TOP)


def updated(config: RunConfig, tree: Mapping[str, Any]) -> RunConfig:
    """Return the config with the values of a tree (as ``read_yaml`` returns) in place of its own."""
    changes = {
        name: replace(getattr(config, name), **value) if name in SECTIONS else value for name, value in tree.items()
    }
    return replace(config, **changes)


def sectioned(given: Mapping[str, Any], *sections: str) -> dict[str, Any]:
    """Return the tree of what a command line gave: a flag with a dot, or a field of one of ``sections`` without."""
    tree: dict[str, Any] = {}
    for name, value in given.items():
        section, dot, field = name.partition(".")
        if dot:
            tree.setdefault(section, {})[field] = value
            continue
        home = next((s for s in sections if name in {f.name for f in fields(SECTIONS[s])}), None)
        if home is not None:
            tree.setdefault(home, {})[name] = value
        elif name in ("output", "target"):
            tree[name] = value
    return tree


def merged(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Return trees of values as one, the later ones over the earlier: what was given by a file and by flags."""
    result: dict[str, Any] = {}
    for tree in trees:
        for name, value in tree.items():
            result[name] = {**result.get(name, {}), **value} if name in SECTIONS else value
    return result


def build_config(*trees: Mapping[str, Any]) -> RunConfig:
    """Return a whole config from trees of values, the later ones over the earlier.

    Raises:
        ConfigError: there is no output or no target.
    """
    config = RunConfig(output="", target="")
    for tree in trees:
        config = updated(config, tree)
    missing = [name for name in ("output", "target") if not getattr(config, name)]
    if missing:
        flags = " and ".join(f"--{name}" for name in missing)
        raise ConfigError(f"{' and '.join(missing)} missing; expected a run folder and a model: give {flags}")
    return config


def read_config(path: Path) -> RunConfig:
    """Read a whole config.

    Raises:
        ConfigError: see ``read_yaml`` and ``build_config``.
    """
    return build_config(tree_of(load_yaml(path), str(path), recorded=True))


HEADER = """\
# Every setting that this run was made with, defaults included.
# A combination that was stored later (unlogit combine) is in unlearned/config.json.
"""


def write_config(path: Path, config: RunConfig) -> None:
    """Write a config with every setting, defaults included, so that it says what a run was made with."""
    with atomic_file(path) as temporary:
        text = yaml.safe_dump(record(config), sort_keys=False, allow_unicode=True)
        temporary.write_text(HEADER + text, encoding="utf-8")


def record(config: RunConfig) -> dict[str, Any]:
    """Return settings as results and run folders keep them: plain values, with the version of their keys."""
    return {"version": SETTINGS_VERSION, **plain(asdict(config))}


def recorded(settings: Mapping[str, Any]) -> RunConfig:
    """Return settings as results keep them, options that have come since at their defaults."""
    return updated(RunConfig(output="", target=""), tree_of(settings, "the recorded settings", recorded=True))


def differences(old: RunConfig, new: RunConfig, names: tuple[str, ...]) -> list[str]:
    """Return ``section.key old → new`` for every setting of the named sections that differs."""
    changes = []
    for name in names:
        old_section, new_section = getattr(old, name), getattr(new, name)
        if not is_dataclass(old_section):
            pairs = [(name, old_section, new_section)]
        else:
            keys = [field.name for field in fields(old_section)]
            pairs = [(f"{name}.{key}", getattr(old_section, key), getattr(new_section, key)) for key in keys]
        changes += [f"{key} {was!r} → {is_!r}" for key, was, is_ in pairs if was != is_]
    return changes


def plain(value: Any) -> Any:
    """Return the tree with lists in place of tuples, which YAML does not have."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
