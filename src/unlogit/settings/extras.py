"""Optional packages: imported where they are needed, and named with the exact install line where they are missing."""

from importlib import import_module
from typing import Any, Literal

from unlogit.errors import ConfigError


def optional_module(name: str, extra: Literal["plots", "gguf"]) -> Any:
    """Import a module of an extra of ours, as ``optional_module("matplotlib.figure", "plots")``.

    Raises:
        ConfigError: its package is not installed; says how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:  # the package is there, and lacks something itself
            raise
        raise ConfigError(f"{package} is not installed; expected it here: pip install 'unlogit[{extra}]'") from error
