"""The options that each objective has, and no others; the flags and their help stand in ``options.TrainOptions``.

A field at None is taken from the objective's paper, or from the target's size (``training.recipe``).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ObjectiveOptions:
    """Options of an objective that has none of its own."""


@dataclass(frozen=True)
class UldOptions(ObjectiveOptions):
    """``uld``."""

    retain_weight: float | None = None
    uniform_ratio: float = 1.0
    neutral_fraction: float = 0.25
    perturbed_fraction: float | None = None
    common_fraction: float = 0.0
    stop_uniform_kl: float = 0.0


@dataclass(frozen=True)
class DualUldOptions(ObjectiveOptions):
    """``dual_uld``."""

    retain_weight: float | None = None
    uniform_ratio: float = 1.0
    neutral_fraction: float = 0.25
    near_fraction: float = 0.2


@dataclass(frozen=True)
class DivergenceOptions(ObjectiveOptions):
    """``divergence``."""

    retain_weight: float | None = None


@dataclass(frozen=True)
class FullModelOptions(ObjectiveOptions):
    """Objectives that train the target's weights or an offset model."""

    forget_weight: float | None = None
    retain_weight: float | None = None
    beta: float | None = None
    gamma: float | None = None
