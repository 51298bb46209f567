"""The options that each objective has, and no others; the flags and their help stand in ``options.TrainOptions``.

A default is that of the objective's paper. ``divergence`` has no option of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

from unlogit.errors import ConfigError, nearest
from unlogit.settings.options import TrainOptions

INSTEAD = {"anything": "uld", "refusal": "uld_refusal"}
"""What a model says in place of what it forgot → the objective: what the target finds next likeliest, or a refusal."""


def objective_saying(instead: str, given: str = "") -> str:
    """Return the objective after which a model says this instead, which may be ``given`` too.

    Raises:
        ConfigError: there is no such thing to say, or another objective is given.
    """
    if instead not in INSTEAD:
        raise ConfigError(f"instead is {instead!r}{nearest(instead, list(INSTEAD))}; expected {' or '.join(INSTEAD)}")
    if given not in ("", *INSTEAD.values()) or (given == "uld_refusal" and instead == "anything"):
        raise ConfigError(f"instead is {instead} and train.objective is {given}; expected one of them: leave one out")
    return INSTEAD[instead]


@dataclass(frozen=True)
class ObjectiveOptions:
    """Options of an objective that has none of its own."""

    SMALL_MODELS: ClassVar[dict[str, float]] = {}
    """The defaults that do better than the paper's below a billion parameters."""


@dataclass(frozen=True)
class UldOptions(ObjectiveOptions):
    """``uld``."""

    retain_weight: float = 6.5
    lift_weight: float = TrainOptions.lift_weight
    uniform_ratio: float = TrainOptions.uniform_ratio
    neutral_fraction: float = TrainOptions.neutral_fraction
    perturbed_fraction: float | None = TrainOptions.perturbed_fraction
    common_fraction: float = TrainOptions.common_fraction
    stop_uniform_kl: float = TrainOptions.stop_uniform_kl
    stop_forget_nats: float = TrainOptions.stop_forget_nats
    SMALL_MODELS: ClassVar[dict[str, float]] = {"retain_weight": 1.0}


@dataclass(frozen=True)
class DualUldOptions(ObjectiveOptions):
    """``dual_uld``."""

    retain_weight: float = 6.5
    lift_weight: float = TrainOptions.lift_weight
    uniform_ratio: float = TrainOptions.uniform_ratio
    neutral_fraction: float = TrainOptions.neutral_fraction
    near_fraction: float = TrainOptions.near_fraction
    SMALL_MODELS: ClassVar[dict[str, float]] = {"retain_weight": 1.0}


@dataclass(frozen=True)
class ForgetTermOptions(ObjectiveOptions):
    """``ga``: gradient ascent alone."""

    forget_weight: float = 1.0


@dataclass(frozen=True)
class TwoTermOptions(ForgetTermOptions):
    """``grad_diff`` and ``ga_kl``: with a retain term."""

    retain_weight: float = 1.0


@dataclass(frozen=True)
class MeOptions(TwoTermOptions):
    """``me_gd``; the weight is its paper's."""

    forget_weight: float = 0.1


@dataclass(frozen=True)
class PreferenceOptions(ForgetTermOptions):
    """``npo`` and ``dpo`` alone."""

    beta: float = 0.1


@dataclass(frozen=True)
class PreferenceRetainOptions(TwoTermOptions):
    """``npo_gd``, ``npo_kl``, ``dpo_gd``, ``dpo_kl`` and ``idk_ap``, whose β is that of its retain term."""

    beta: float = 0.1


@dataclass(frozen=True)
class SimNpoOptions(TwoTermOptions):
    """``simnpo``, as its paper sets it for forget10; γ is a margin."""

    forget_weight: float = 0.125
    beta: float = 4.5
    gamma: float = 0.0


@dataclass(frozen=True)
class UndialOptions(ForgetTermOptions):
    """``undial``; γ is by how much a token of the answer is lowered."""

    gamma: float = 10.0
