"""What each objective trains, on which sides of a step, and by which loss: the one table of objectives.

A run trains one recipe after the other and combines what comes out (``weights``), see ``model.logit_difference``:

* ``uld``: one assistant that remembers what must go. Ji et al., NeurIPS 2024, arXiv 2406.08607.
* ``dual_uld``: a second one protects the neighbours (Dual-ULD, EASE). The first remembers the forget rows and the
  retain rows nearest to them, the second those retain rows only; subtracted and added, what both know cancels out.
* ``uld_refusal``: ``uld``, and a second assistant that remembers refusals to the forget questions and is uniform
  elsewhere. It is added, so that the model says there that it does not know.
* ``divergence``: two assistants, one trained with the forget rows and one without, neither of them uniform anywhere
  (divergence decoding, arXiv 2605.31293, linear; with the rule ``rank``, its other form).
* ``npo_kl``, ``dpo_gd``, …: the target's own weights, see ``objectives.weights``.
* ``offset_npo_kl``, …: an offset model beside the target, by the same losses.

A new objective is one file in ``objectives`` and one line here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from unlogit.data.batches import LengthSortedSampler, TwoSidedSampler
from unlogit.data.content_words import common_words
from unlogit.data.examples import Example
from unlogit.data.refusals import refusal_for
from unlogit.errors import ConfigError, DataError, nearest
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
names it, ``retain`` means the others), ``refusal`` (the forget questions with refusals), ``perturbed``, ``neutral``."""


@dataclass(frozen=True)
class Alternative:
    """Another answer to each question of a side, on a side of its own, which goes wherever the row goes."""

    side: str
    answer: Callable[[Example, int, int, Sequence[str]], str]
    """(row, its number in the pool, seed, refusals) → the answer, the same in every pass."""


def refuse(example: Example, number: int, seed: int, refusals: Sequence[str]) -> str:
    """Return a refusal.

    Raises:
        ConfigError: there are none.
        DataError: the row asks nothing.
    """
    if not refusals:
        raise ConfigError("the objective teaches refusals and there are none; expected some: give data.refusals")
    if example.kind == "text":
        raise DataError(
            "the objective answers questions with refusals, and a row is running text; expected questions: choose an "
            "objective without refusals, as npo_gd"
        )
    return refusal_for(number, seed, refusals)


@dataclass(frozen=True)
class Side:
    """One side of a step, whose pools are joined."""

    name: str
    pools: tuple[str, ...]
    with_questions: bool = False
    """The positions of the question count as well as those of the answer."""
    alternative: Alternative | None = None

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
    loss: Callable[[Sides, Any], Terms]
    """Of the sides of a step and the objective's options."""
    options: type[ObjectiveOptions] = ObjectiveOptions
    """The options that this objective has, and no others."""
    full_model_rates: bool = False
    """Whether learning rate and passes are by default those of full-model unlearning, not those of an assistant."""
    combines: bool = True
    """Whether what comes out is a branch beside the target; else an ordinary model."""
    needs: frozenset[Need] = frozenset()
    """Reference values and partners that the loss asks for."""
    sampler: type[TwoSidedSampler | LengthSortedSampler] = TwoSidedSampler
    """The order of the rows."""
    folder: str = "assistant"
    """Where the adapter stands in a run folder."""
    weights: tuple[float, ...] = (1.0,)
    """Weights in the combination of what comes out."""
    thinks: bool = True
    """Whether an answer is also a thought, where the chat template has thoughts."""
    adds: bool = False
    """Whether what comes out is an addition, see ``model.logit_difference``."""

    def filled(self, options: TrainOptions, adapter: str, parameters: int) -> tuple[TrainOptions, str]:
        """Fill the fields at None; return the options and a sentence that says what was taken.

        Learning rate, passes and the objective's options are the paper's, or below a billion parameters those that do
        better there. Full-model unlearning and offset models learn at ten times the rate with LoRA.
        """
        small = parameters < SMALL_MODEL_PARAMETERS
        values: dict[str, Any] = {"learning_rate": 2e-3 if small and adapter == "lora" else 1e-3, "epochs": 10.0}
        if self.full_model_rates:
            rate = (1e-4 if small else 1e-5) * (10 if adapter == "lora" else 1)
            values = {"learning_rate": rate, "epochs": 5.0}
        values |= asdict(self.options()) | (self.options.of_small_models() if small else {})
        empty = {field.name for field in fields(options) if getattr(options, field.name) is None}
        missing = {name: value for name, value in values.items() if name in empty and value is not None}
        if not missing:
            return options, "All training settings were given."
        source = "settings for models below a billion parameters" if small else "the paper's settings"
        listed = ", ".join(f"{name} {value:g}" for name, value in missing.items())
        return replace(options, **missing), f"Took {source} for what was not set: {listed}."

    def own_options(self, options: LoopOptions) -> ObjectiveOptions:
        """Return the objective's options: those that were set, else its defaults."""
        names = [field.name for field in fields(self.options)]
        values = {name: getattr(options, name, None) for name in names}
        return self.options(**{name: value for name, value in values.items() if value is not None})


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
        loss=(lambda sides, own: uld(sides, own.retain_weight)) if uniform else _remember,
        options=options,
        folder=folder,
        weights=(weight,),
    )


def _remember(sides: Sides, own: Any) -> Terms:
    return uld(sides)


def _by_weights(objective: Objective, make: Make, *, combines: bool, weights: tuple[float, ...] = (1.0,)) -> Recipe:
    refusals = {need: Alternative(need, refuse) for need in ("refusal", "retain_refusal") if need in objective.needs}
    forget = Side("forget", ("forget",), objective.with_questions, refusals.get("refusal"))
    retain = Side("retain", ("retain",), alternative=refusals.get("retain_refusal"))
    return Recipe(
        make=make,
        sides=(forget, retain) if objective.retain else (forget,),
        loss=objective.loss,
        options=objective.options,
        combines=combines,
        needs=objective.needs,
        full_model_rates=True,
        weights=weights,
    )


def _full_model(target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> Trainable:
    return WeightsModel(target, shape if shape.adapter == "lora" else None, seed)


def _offset_model(target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> Trainable:
    return OffsetModel(target, shape, seed, combination)


REFUSAL_WEIGHT = -2.0
"""Weight of a branch that refuses: negative, since it is added. It has to begin a sentence that the target holds for a
hundred thousand times less likely than its answer (see ``results/forget.md`` for -1 and -1.5, which are too little)."""

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
    "uld_refusal": (
        _assistant(("forget",), _UNIFORM, UldOptions),
        replace(
            _assistant(("refusal",), ("retain", "neutral"), UldOptions, "assistant-1", REFUSAL_WEIGHT),
            sides=(Side("forget", ("refusal",)), UniformSide("uniform", ("retain", "neutral"))),
            adds=True,
        ),
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


def _learn(sides: Sides, own: Any) -> Terms:
    return {"answer": Term(sides.forget.cross_entropy(), 1.0, "forget")}


def finetune_recipe(loss_on: str) -> Recipe:
    """Ordinary training on rows: cross-entropy of their answers, or of all their tokens."""
    return Recipe(
        make=lambda target, shape, combination, seed: WeightsModel(target, None, seed),
        sides=(Side("forget", ("forget",), with_questions=loss_on == "all"),),
        loss=_learn,
        combines=False,
        sampler=LengthSortedSampler,
        thinks=False,
    )
