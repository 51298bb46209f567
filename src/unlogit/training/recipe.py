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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from unlogit.data.batches import LengthSortedSampler, TwoSidedSampler
from unlogit.data.content_words import common_words
from unlogit.data.examples import Example
from unlogit.errors import ConfigError, nearest
from unlogit.objectives.sides import Sides
from unlogit.objectives.terms import Term, Terms
from unlogit.objectives.uld import uld
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES, Need, Objective
from unlogit.settings.objective_options import DualUldOptions, ObjectiveOptions, UldOptions
from unlogit.settings.options import AssistantOptions, CombinationOptions, LoopOptions, TrainOptions
from unlogit.training.trainable import AssistantModel, OffsetModel, Trainable, WeightsModel

SMALL_MODEL_PARAMETERS = 1_000_000_000

Pools = Mapping[str, Sequence[Example]]
"""Rows by pool: ``forget``, ``retain``, ``near`` (those retain rows that are nearest to the forget rows; where a recipe
names it, ``retain`` means the others), ``perturbed`` and ``neutral``."""


@dataclass(frozen=True)
class Side:
    """One side of a step, whose pools are joined."""

    name: str
    pools: tuple[str, ...]
    with_questions: bool = False
    """The positions of the question count as well as those of the answer."""

    def draw(self, pools: Pools, options: Any) -> dict[str, tuple[Sequence[Example], int]]:
        """Return, by pool, its rows and how many of them a step takes."""
        joined = [row for name in self.pools for row in pools.get(name, ())]
        return {"+".join(self.pools): (joined, options.batch_size)}

    def common_words(self, pools: Pools, options: Any) -> frozenset[str] | None:
        """Return the words that carry no loss where only content words count; None: all of an answer counts."""
        return None


class RememberedSide(Side):
    """What an assistant remembers: whole answers, or with ``common_fraction`` their content words."""

    def common_words(self, pools: Pools, options: TrainOptions) -> frozenset[str] | None:
        """Return the words that stand in at least ``common_fraction`` of the retain answers."""
        return common_words(pools["retain"], options.common_fraction) if options.common_fraction else None


class UniformSide(Side):
    """What an assistant knows nothing of: each of its pools has a share of the step."""

    def draw(self, pools: Pools, options: TrainOptions) -> dict[str, tuple[Sequence[Example], int]]:
        """Return, by pool, its rows and how many of them a step takes.

        The counts sum to ``uniform_ratio · batch_size`` (at least 1): neutral and, where set, wrong answers by their
        shares, the others in equal parts, the first ones the larger. Nothing where there are no rows.
        """
        present = [name for name in self.pools if pools.get(name)]
        equal = [name for name in present if name != "neutral"]
        total = max(1, round(options.batch_size * options.uniform_ratio))
        neutral_fraction = options.neutral_fraction if equal else 1
        fixed = {"neutral": round(total * neutral_fraction) if "neutral" in present else 0}
        if options.perturbed_fraction is not None and "perturbed" in equal and len(equal) > 1:
            equal.remove("perturbed")
            fixed["perturbed"] = round(total * options.perturbed_fraction)
        rest = total - sum(fixed.values())
        counts = {name: len(range(i, rest, len(equal))) for i, name in enumerate(equal)} | fixed
        return {name: (pools[name], count) for name, count in counts.items() if count}


Make = Callable[[Any, AssistantOptions, CombinationOptions, int], Trainable]
"""(target, shape, combination, seed) → what is trained."""


@dataclass(frozen=True)
class Recipe:
    """What is trained, on which sides of a step, by which loss."""

    make: Make
    sides: tuple[Side, ...]
    loss: Callable[[Sides, Mapping[str, float]], Terms]
    """Of the sides of a step and ``loss_numbers``."""
    options: type[ObjectiveOptions] = ObjectiveOptions
    """The options that this objective has, and no others."""
    combines: bool = True
    """Whether what comes out is a branch beside the target; else an ordinary model."""
    needs: frozenset[Need] = frozenset()
    """Reference values and partners that the loss asks for."""
    numbers: Mapping[str, float] | None = None
    """The paper's values of what its loss takes; None: that is ``retain_weight``, by the target's size."""
    sampler: type[TwoSidedSampler | LengthSortedSampler] = TwoSidedSampler
    """The order of the rows."""
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

    def filled(self, options: TrainOptions, adapter: str, parameters: int) -> tuple[TrainOptions, str]:
        """Fill the fields at None by ``defaults``; return the options and a sentence that says what was taken."""
        values, source = self.defaults(adapter, parameters)
        settable = {field.name for field in (*fields(LoopOptions), *fields(self.options))}
        missing = {name: value for name, value in values.items() if name in settable and getattr(options, name) is None}
        if not missing:
            return options, "All training settings were given."
        listed = ", ".join(f"{name} {value:g}" for name, value in missing.items())
        return replace(options, **missing), f"Took {source} for what was not set: {listed}."

    def loss_numbers(self, options: LoopOptions) -> dict[str, float]:
        """Return the numbers of the loss: those that were set, else those of the objective's paper."""
        numbers = self.numbers
        if numbers is None:
            numbers = {field.name: 0.0 for field in fields(self.options) if field.name == "retain_weight"}
        return {
            name: paper if getattr(options, name) is None else getattr(options, name) for name, paper in numbers.items()
        }


def _assistant(
    remember: tuple[str, ...],
    uniform: tuple[str, ...],
    options: type[ObjectiveOptions],
    folder: str = "assistant",
    weight: float = 1.0,
) -> Recipe:
    return Recipe(
        make=lambda target, shape, combination, seed: AssistantModel(target, shape, seed),
        sides=(RememberedSide("forget", remember), *((UniformSide("uniform", uniform),) if uniform else ())),
        loss=lambda sides, numbers: uld(sides, **numbers),
        options=options,
        folder=folder,
        weights=(weight,),
    )


def _by_weights(objective: Objective, make: Make, *, combines: bool, weights: tuple[float, ...] = (1.0,)) -> Recipe:
    retain = (Side("retain", ("retain",)),) if "retain" in objective.needs else ()
    return Recipe(
        make=make,
        sides=(Side("forget", ("forget",), objective.with_questions), *retain),
        loss=objective.loss,
        options=objective.options,
        combines=combines,
        needs=objective.needs,
        numbers=objective.numbers,
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
        _assistant(("forget", "retain"), (), ObjectiveOptions),
        _assistant(("retain",), (), ObjectiveOptions, "assistant-1", -1.0),
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


def finetune_recipe(loss_on: str) -> Recipe:
    """Ordinary training on rows: cross-entropy of their answers, or of all their tokens."""
    return Recipe(
        make=lambda target, shape, combination, seed: WeightsModel(target, None, seed),
        sides=(Side("forget", ("forget",), with_questions=loss_on == "all"),),
        loss=_learn,
        combines=False,
        numbers={},
        sampler=LengthSortedSampler,
    )
