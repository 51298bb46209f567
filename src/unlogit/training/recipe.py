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

from unlogit.data.batches import Order, length_sorted_steps, two_sided_steps
from unlogit.data.examples import Example
from unlogit.data.refusals import refusal_for
from unlogit.errors import ConfigError, DataError, nearest
from unlogit.objectives.sides import Sides
from unlogit.objectives.terms import Term, Terms
from unlogit.objectives.uld import uld
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES, Need, Objective
from unlogit.settings.objective_options import DualUldOptions, ObjectiveOptions, UldOptions
from unlogit.settings.options import LoopOptions, TrainOptions
from unlogit.training.trainable import AssistantModel, OffsetModel, Trainable, WeightsModel
from unlogit.training.trainer import Options

SMALL_MODEL_PARAMETERS = 1_000_000_000

Pools = Mapping[str, Sequence[Example]]
"""Rows by pool: ``forget``, ``retain``, ``near`` (those retain rows that are nearest to the forget rows; where a recipe
names it, ``retain`` means the others), ``refusal`` (the forget questions with refusals), ``perturbed``, ``neutral``."""

Answer = Callable[[Example, int, int, Sequence[str]], str]
"""(row, its number in the pool, seed, refusals) → another answer to its question, the same in every pass."""


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
    content_words: bool = False
    """With ``common_fraction``, only the content words of an answer count."""
    alternative: str = ""
    """The side of another ``answer`` to each question, which goes wherever the row goes; empty for none."""
    answer: Answer = refuse

    def other(self, example: Example, number: int, seed: int, refusals: Sequence[str]) -> Example | None:
        """Return a row with its other answer, where the side has an alternative."""
        return replace(example, answer=self.answer(example, number, seed, refusals)) if self.alternative else None

    def draw(self, pools: Pools, options: Any) -> dict[str, tuple[Sequence[Example], int]]:
        """Return, by pool, its rows and how many of them a step takes."""
        joined = [row for name in self.pools for row in pools.get(name, ())]
        return {"+".join(self.pools): (joined, options.batch_size)}


class UniformSide(Side):
    """What an assistant knows nothing of: each of its pools has a share of the step."""

    def draw(self, pools: Pools, options: TrainOptions) -> dict[str, tuple[Sequence[Example], int]]:
        """Return, by pool, its rows and how many of them a step takes.

        The counts sum to ``uniform_ratio · batch_size`` (at least 1): neutral and, where set, wrong answers by their
        shares, the others in equal parts, the first ones the larger. Nothing where there are no rows.
        """
        fractions = {"neutral": options.neutral_fraction, "perturbed": options.perturbed_fraction}
        present = [name for name in self.pools if pools.get(name)]
        equal = [name for name in present if fractions.get(name) is None] or present[:1]
        total = max(1, round(options.batch_size * options.uniform_ratio))
        counts = {
            name: round(total * fraction)
            for name, fraction in fractions.items()
            if fraction is not None and name in present and name not in equal
        }
        rest = total - sum(counts.values())
        counts = {name: len(range(i, rest, len(equal))) for i, name in enumerate(equal)} | counts
        return {name: (pools[name], count) for name, count in counts.items() if count}


@dataclass(frozen=True)
class Recipe:
    """What is trained, on which sides of a step, by which loss."""

    trains: type[Trainable]
    sides: tuple[Side, ...]
    loss: Callable[[Sides, Any], Terms]
    """Of the sides of a step and the objective's options."""
    options: type[ObjectiveOptions] = ObjectiveOptions
    """The options that this objective has, and no others."""
    weights: tuple[float, ...] = (1.0,)
    """Weights in the combination of what comes out."""
    name: str = "assistant"
    """Folder of what comes out in a run, where it is an adapter; no two recipes of an objective have the same."""
    adds: bool = False
    """Whether what comes out is an addition, see ``model.logit_difference``."""
    needs: frozenset[Need] = frozenset()
    """Reference values and partners that the loss asks for."""
    order: Order = two_sided_steps
    """Which rows each step takes."""
    thinks: bool = True
    """Whether an answer is also a thought, where the chat template has thoughts."""

    def filled(self, options: Options, adapter: str, parameters: int) -> tuple[Options, str]:
        """Fill the fields at None; return the options and a sentence that says what was taken.

        Learning rate, passes and the objective's options are the paper's, or below a billion parameters those that do
        better there. Full-model unlearning and offset models learn at ten times the rate with LoRA.
        """
        small, lora = parameters < SMALL_MODEL_PARAMETERS, adapter == "lora"
        if self.trains.remembers:
            values: dict[str, Any] = {"learning_rate": 2e-3 if small and lora else 1e-3, "epochs": 10.0}
        else:
            values = {"learning_rate": (1e-4 if small else 1e-5) * (10 if lora else 1), "epochs": 5.0}
        values |= asdict(self.options()) | (self.options.SMALL_MODELS if small else {})
        empty = {field.name for field in fields(options) if getattr(options, field.name) is None}
        missing = {name: value for name, value in values.items() if name in empty and value is not None}
        if not missing:
            return options, "All training settings were given."
        source = "settings for models below a billion parameters" if small else "the paper's settings"
        listed = ", ".join(f"{name} {value:g}" for name, value in missing.items())
        return replace(options, **missing), f"Took {source} for what was not set: {listed}."

    def own_options(self, options: LoopOptions) -> ObjectiveOptions:
        """Return the objective's options: those that were set, else its defaults."""
        values = {field.name: getattr(options, field.name, None) for field in fields(self.options)}
        return self.options(**{name: value for name, value in values.items() if value is not None})


def _uld(sides: Sides, own: Any) -> Terms:
    return uld(sides, own.retain_weight, own.lift_weight) if sides.uniform else uld(sides)


def _assistant(forget: Side, uniform: tuple[str, ...], options: type[ObjectiveOptions], **others: Any) -> Recipe:
    sides = (forget, UniformSide("uniform", uniform)) if uniform else (forget,)
    return Recipe(AssistantModel, sides, _uld, options, **others)


def _by_weights(objective: Objective, trains: type[Trainable], weights: tuple[float, ...] = (1.0,)) -> Recipe:
    refusal, retain_refusal = (name if name in objective.needs else "" for name in ("refusal", "retain_refusal"))
    forget = Side("forget", ("forget",), objective.with_questions, alternative=refusal)
    retain = Side("retain", ("retain",), alternative=retain_refusal)
    sides = (forget, retain) if objective.retain else (forget,)
    return Recipe(trains, sides, objective.loss, objective.options, weights, needs=objective.needs)


REFUSAL_WEIGHT = -2.0
"""Weight of a branch that refuses: negative, since it is added. It has to begin a sentence that the target holds for a
hundred thousand times less likely than its answer (see ``results/forget.md`` for -1 and -1.5, which are too little)."""

_UNIFORM = ("retain", "perturbed", "neutral")
_ULD = _assistant(Side("forget", ("forget",), content_words=True), _UNIFORM, UldOptions)

OBJECTIVES: dict[str, tuple[Recipe, ...]] = {
    "uld": (_ULD,),
    "dual_uld": (
        _assistant(Side("forget", ("forget", "near")), _UNIFORM, DualUldOptions),
        _assistant(
            Side("forget", ("near",)), ("forget", *_UNIFORM), DualUldOptions, weights=(-1.0,), name="assistant-near"
        ),
    ),
    "divergence": (
        _assistant(Side("forget", ("forget", "retain")), (), ObjectiveOptions),
        _assistant(Side("forget", ("retain",)), (), ObjectiveOptions, weights=(-1.0,), name="assistant-retain"),
    ),
    "uld_refusal": (
        _ULD,
        _assistant(
            Side("forget", ("refusal",)),
            ("retain", "neutral"),
            UldOptions,
            weights=(REFUSAL_WEIGHT,),
            name="assistant-refusal",
            adds=True,
        ),
    ),
    **{name: (_by_weights(objective, WeightsModel),) for name, objective in WEIGHT_OBJECTIVES.items()},
    **{
        name: (_by_weights(objective, OffsetModel, OffsetModel.WEIGHTS),)
        for name, objective in OFFSET_OBJECTIVES.items()
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
    return recipes_of(objective)[0].trains.combines


def finetune_recipe(loss_on: str) -> Recipe:
    """Ordinary training on rows: cross-entropy of their answers, or of all their tokens."""
    return Recipe(
        WeightsModel,
        (Side("forget", ("forget",), with_questions=loss_on == "all"),),
        lambda sides, own: {"answer": Term(sides.forget.cross_entropy(), 1.0, "forget")},
        order=length_sorted_steps,
        thinks=False,
    )
