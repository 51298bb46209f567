"""Settings of earlier versions: what is called otherwise today, and what is gone.

Every recorded set of settings (config.yaml, results.json) carries ``version``; without it, it is of version 1. Earlier
ones are brought up to date before they are read, so that an option can be renamed or removed without breaking old runs
and results.
"""

from collections.abc import Mapping
from typing import Any

from unlogit.errors import ConfigError

SETTINGS_VERSION = 2

RENAMED: dict[tuple[str, str], str] = {
    ("data", "holdout_share"): "holdout_fraction",
    ("train", "near_share"): "near_fraction",
    ("train", "neutral_share"): "neutral_fraction",
    ("train", "perturbed_share"): "perturbed_fraction",
    ("train", "common_share"): "common_fraction",
    ("train", "warmup_share"): "warmup_ratio",
    ("train", "stop_flatness"): "stop_uniform_kl",
    ("pick", "validation_share"): "validation_fraction",
    ("evaluate", "conventions"): "protocol",
}
"""(section, key) of version 1 → the key today."""

FIGURES = {"flatness.": "uniform_kl.", "flatness_nats": "uniform_kl_nats"}
"""What figures in results of version 1 begin with → the beginning today."""

REMOVED: dict[tuple[str, str], Any] = {
    ("assistant", "lora_first_layer"): 0,
    ("train", "near_flat"): False,
    ("train", "growing_retain_weight"): False,
    ("train", "flat_share"): 1.0,
}
"""(section, key) of options that gained nothing → the value that meant off."""


def options_in_use(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what recorded settings had of options that are gone and were not off, by ``section.key``."""
    return {
        f"{section}.{key}": tree[section][key]
        for (section, key), off in REMOVED.items()
        if isinstance(tree.get(section), Mapping) and tree[section].get(key, off) != off
    }


def figure_name(name: str) -> str:
    """Return what a figure of recorded results is called today."""
    beginning = next((old for old in FIGURES if name.startswith(old)), "")
    return FIGURES[beginning] + name.removeprefix(beginning) if beginning else name


def up_to_date(tree: Mapping[Any, Any], where: str, *, recorded: bool = False) -> dict[Any, Any]:
    """Return settings of any version under today's keys, without ``version``.

    Args:
        tree: sections of settings, as they were read.
        where: stands before a key in messages.
        recorded: whether they say how something was made, so that a removed option may have been in use then.

    Raises:
        ConfigError: they are of a later version, or ask for an option that is gone.
    """
    version = tree.get("version", 1)
    if not isinstance(version, int) or version > SETTINGS_VERSION:
        raise ConfigError(
            f"{where}: version is {version!r}; expected at most {SETTINGS_VERSION}: update unlogit, or write the "
            "settings anew"
        )
    renewed: dict[Any, Any] = {}
    for section, values in tree.items():
        if section == "version":
            continue
        if not isinstance(values, Mapping):
            renewed[section] = values
            continue
        renewed[section] = {}
        for key, value in values.items():
            if (section, key) in REMOVED:
                off = REMOVED[section, key]
                if value != off and not recorded:
                    raise ConfigError(
                        f"{where}: {section}.{key} is {value!r}, an option that is gone since it gained nothing; "
                        "expected no such line: remove it"
                    )
                continue
            renewed[section][RENAMED.get((section, key), key)] = value
    return renewed
