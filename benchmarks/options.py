"""The random model that is measured on, and how often."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BenchOptions:
    """The random model that ``python -m benchmarks`` measures on, and how often."""

    layers: int = 16
    """Blocks of the target, L; an assistant has a quarter of them, K."""
    hidden: int = 1024
    """Hidden size, a multiple of 64."""
    vocabularies: tuple[int, ...] = (32_768, 131_072)
    """Sizes of the vocabulary."""
    repetitions: int = 15
    """Repetitions of each quick measurement; slow ones take fewer."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type. `auto`: bfloat16 where it is measured to be faster."""
    seed: int = 0
    """Seed of weights and rows."""
