"""What each objective trains, on which sides of a step, and by which loss: the one table of objectives.

A run trains one recipe after the other and combines what comes out (``weights``), see ``model.logit_difference``:

* ``uld``: one assistant that remembers what must go. Ji et al., NeurIPS 2024, arXiv 2406.08607.
* ``dual_uld``: a second one protects the neighbours (Dual-ULD, EASE). The first remembers the forget rows and the
  retain rows nearest to them, the second those retain rows only; subtracted and added, what both know cancels out.
* ``divergence``: two assistants, one trained with the forget rows and one without, neither of them uniform anywhere
  (divergence decoding, arXiv 2605.31293, linear; with the rule ``rank``, its other form).
* ``npo_kl``, ``dpo_gd``, …: the target's own weights, see ``objectives.weights``.
* ``offset_npo_kl``, …: an offset model beside the target, by the same losses.

A new objective is one file in ``objectives`` and one line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unlogit.errors import ConfigError, nearest
from unlogit.objectives.sides import Sides
from unlogit.objectives.terms import Term, Terms
from unlogit.objectives.uld import uld
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES, Need, Objective
from unlogit.settings.objective_options import (
    DivergenceOptions,
    DualUldOptions,
    FullModelOptions,
    ObjectiveOptions,
    UldOptions,
)
from unlogit.settings.options import AssistantOptions, CombinationOptions, TrainOptions
from unlogit.training.trainable import AssistantModel, OffsetModel, Trainable, WeightsModel

SMALL_MODEL_PARAMETERS = 1_000_000_000


@dataclass(frozen=True)
class Side:
    """One side of a step: the pools of rows that it draws from."""

    name: str
    pools: tuple[str, ...]
    """``forget``, ``retain``, ``near`` (those retain rows that are nearest to the forget rows; where a recipe names
    it, ``retain`` means the others), ``perturbed`` and ``neutral``. Joined, but for the uniform side, where each has
    its share of a step."""


Make = Callable[[Any, AssistantOptions, CombinationOptions, int], Trainable]
"""(target, shape, combination, seed) → what is trained."""


@dataclass(frozen=True)
class Recipe:
    """What is trained, on which sides of a step, by which loss."""

    make: Make
    sides: tuple[Side, ...]
    loss: Callable[[Sides, Mapping[str, float]], Terms]
    """Of the sides of a step and the numbers of ``settings``."""
    settings: type[ObjectiveOptions]
    """The options that this objective has, and no others."""
    combines: bool = True
    """Whether what comes out is a branch beside the target; else an ordinary model."""
    needs: frozenset[Need] = frozenset()
    """Reference values and partners that the loss asks for."""
    numbers: Mapping[str, float] | None = None
    """The paper's numbers for what ``settings`` leaves at None; None: those of the target's size."""
    with_questions: bool = False
    """The forget side has the positions of the question as well as those of the answer."""
    folder: str = "assistant"
    """Where the adapter stands in a run folder."""
    weights: tuple[float, ...] = (1.0,)
    """Weights in the combination of what comes out."""

    def defaults(self, adapter: str, parameters: int) -> tuple[dict[str, Any], str]:
        """Return values for what is not set, by the size of the target, and where they are from.

        The paper's settings, or below a billion parameters those that do better there. What trains the target's
        weights or an offset model has its weights from its own paper; there LoRA learns at ten times the rate.
        """
        small = parameters < SMALL_MODEL_PARAMETERS
        source = "settings for models below a billion parameters" if small else "the paper's settings"
        if self.numbers is not None:
            rate = (1e-4 if small else 1e-5) * (10 if adapter == "lora" else 1)
            return {"learning_rate": rate, "epochs": 5.0}, source
        rate = 2e-3 if small and adapter == "lora" else 1e-3
        return {"learning_rate": rate, "retain_weight": 1.0 if small else 6.5, "epochs": 10.0}, source

    def loss_numbers(self, options: TrainOptions) -> dict[str, float]:
        """Return the numbers of the loss: those that were set, else those of the objective's paper."""
        numbers = self.numbers if self.numbers is not None else {"retain_weight": 0.0}
        return {
            name: paper if getattr(options, name) is None else getattr(options, name) for name, paper in numbers.items()
        }


def _assistant(
    remember: tuple[str, ...],
    uniform: tuple[str, ...],
    settings: type[ObjectiveOptions],
    folder: str = "assistant",
    weight: float = 1.0,
) -> Recipe:
    sides = (Side("forget", remember), *((Side("uniform", uniform),) if uniform else ()))
    return Recipe(
        make=lambda target, shape, combination, seed: AssistantModel(target, shape, seed),
        sides=sides,
        loss=lambda sides, numbers: uld(sides, numbers["retain_weight"]),
        settings=settings,
        folder=folder,
        weights=(weight,),
    )


def _by_weights(objective: Objective, make: Make, *, combines: bool, weights: tuple[float, ...] = (1.0,)) -> Recipe:
    retain = (Side("retain", ("retain",)),) if "retain" in objective.needs else ()
    return Recipe(
        make=make,
        sides=(Side("forget", ("forget",)), *retain),
        loss=lambda sides, numbers: objective.loss(sides, **numbers),
        settings=FullModelOptions,
        combines=combines,
        needs=objective.needs,
        numbers={name: getattr(objective, name) for name in ("forget_weight", "retain_weight", "beta", "gamma")},
        with_questions=objective.with_questions,
        weights=weights,
    )


def _full_model(target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> Trainable:
    return WeightsModel(target, shape if shape.adapter == "lora" else None, seed)


def _offset_model(target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> Trainable:
    return OffsetModel(target, shape, seed, combination)


_UNIFORM = ("retain", "perturbed", "neutral")

OBJECTIVES: dict[str, tuple[Recipe, ...]] = {
    "uld": (_assistant(("forget",), _UNIFORM, UldOptions),),
    "dual_uld": (
        _assistant(("forget", "near"), _UNIFORM, DualUldOptions),
        _assistant(("near",), ("forget", *_UNIFORM), DualUldOptions, "assistant-1", -1.0),
    ),
    "divergence": (
        _assistant(("forget", "retain"), (), DivergenceOptions),
        _assistant(("retain",), (), DivergenceOptions, "assistant-1", -1.0),
    ),
    **{name: (_by_weights(one, _full_model, combines=False),) for name, one in WEIGHT_OBJECTIVES.items()},
    **{
        name: (_by_weights(one, _offset_model, combines=True, weights=OffsetModel.WEIGHTS),)
        for name, one in OFFSET_OBJECTIVES.items()
    },
}
"""The recipes of every objective, by name, in the order in which they are trained."""


def recipes_of(objective: str) -> tuple[Recipe, ...]:
    """Return the recipes of an objective.

    Raises:
        ConfigError: there is no such objective.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"objective {objective!r} is unknown{nearest(objective, list(OBJECTIVES))}: change it")
    return OBJECTIVES[objective]


def combines(objective: str) -> bool:
    """Whether an objective's result is a combination of the target with branches."""
    return recipes_of(objective)[0].combines


def _learn(sides: Sides, numbers: Mapping[str, float]) -> Terms:
    return {"answer": Term(sides.forget.cross_entropy(), 1.0, "forget")}


FINETUNE = Recipe(
    make=lambda target, shape, combination, seed: WeightsModel(target, None, seed),
    sides=(Side("forget", ("forget",)),),
    loss=_learn,
    settings=ObjectiveOptions,
    combines=False,
    numbers={},
)
"""Ordinary training on rows: cross-entropy of their answers."""
