"""A case of forgetting: which rows, which models, which seeds. What ``configs/forget/NAME.yaml`` holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlogit.errors import ConfigError
from unlogit.settings.config_file import load_yaml
from unlogit.settings.flags import typed

PEOPLE_OF = {1: 1, 6: 1, 20: 4}
"""People that a request about made-up people is about, by its rows."""


@dataclass(frozen=True)
class CaseOptions:
    """One request, made once with each seed by ``unlogit forget`` at its defaults."""

    target: str = ""
    """Model that must forget: a folder. Empty: made on the spot, for made-up people."""
    retain_model: str = ""
    """Model that never saw the rows, which judges and which forgetting never sees. Empty: made on the spot."""
    forget: str = ""
    """`tofu:forget01|05|10`. Empty: rows about made-up people."""
    tofu_folder: str = ""
    """Folder that holds TOFU's files."""
    people_rows: int = 0
    """Rows about made-up people to forget: 1, 6 or 20."""
    asked: Literal["", "customers", "documents", "in_a_row"] = ""
    """Rows that SmolLM2 is taught and then asked about; `in_a_row`: a tiny target, five requests one after the other.
    No retain model judges."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of made-up people, rows and training."""
    generate_rows: int = 60
    """Rows of each split that are answered, and rows to forget that are sampled."""


def read_case(path: Path) -> CaseOptions:
    """Read a config.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or rows or models are missing.
    """
    options = CaseOptions(**typed(CaseOptions, load_yaml(path), f"{path}: "))
    given = [name for name in ("forget", "people_rows", "asked") if getattr(options, name)]
    if len(given) != 1:
        raise ConfigError(
            f"{path}: {' and '.join(given) if given else 'none of forget, people_rows and asked'} given; expected one "
            "of the three"
        )
    missing = [name for name in ("target", "retain_model", "tofu_folder") if not getattr(options, name)]
    if options.forget and missing:
        raise ConfigError(
            f"{path}: forget is {options.forget!r} without {', '.join(missing)}; expected all of them: add them"
        )
    if options.people_rows and options.people_rows not in PEOPLE_OF:
        sizes = ", ".join(map(str, PEOPLE_OF))
        raise ConfigError(f"{path}: people_rows is {options.people_rows}; expected one of {sizes}: change it")
    return options
