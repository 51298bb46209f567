"""A new objective is one file and one line in the table: here one whose own answers are the ``refusal`` side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from support.tiny_run import tiny_tokenizer
from support.tiny_training import FORGET, people_options, people_target, train
from unlogit.data.examples import Example
from unlogit.objectives.sides import Sides, required, row_difference
from unlogit.objectives.terms import Term, Terms
from unlogit.settings.objective_options import ObjectiveOptions
from unlogit.settings.options import AssistantOptions
from unlogit.training.recipe import OBJECTIVES, Recipe, Side, recipes_of
from unlogit.training.trainable import WeightsModel


@dataclass(frozen=True)
class ToyOptions(ObjectiveOptions):
    """How much likelier the alternative shall be, and the weight of that."""

    margin_nats: float = 2.0
    margin_weight: float = 0.1


def shouted(example: Example, number: int, seed: int, refusals: Sequence[str]) -> str:
    """The alternative answer: no refusal, but the question in capitals."""
    return example.question.upper()


def prefer_alternatives(sides: Sides, own: ToyOptions) -> Terms:
    """The alternative shall be likelier than the answer, by a margin; and likely in itself."""
    alternative = required(sides.refusal, "refusal")
    behind = row_difference(alternative.nll(), sides.forget.nll())  # [B]
    margin = torch.relu(behind + own.margin_nats).mean()
    return {
        "margin": Term(margin, own.margin_weight, "forget", "row"),
        "alternative": Term(alternative.cross_entropy(), 1.0, "refusal"),
    }


TOY = Recipe(
    trains=WeightsModel,
    sides=(Side("forget", ("forget",), alternative="refusal", answer=shouted),),
    loss=prefer_alternatives,
    options=ToyOptions,
)


@pytest.mark.parametrize("pieces", [1, 2])
def test_it_trains(pieces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss falls, also in accumulated batches; its terms are logged by their names."""
    monkeypatch.setitem(OBJECTIVES, "toy", (TOY,))
    options = people_options("toy", epochs=10, training_arguments={"gradient_accumulation_steps": pieces})
    fitted = train(
        options,
        tmp_path / "out",
        AssistantOptions(adapter="full"),
        target=people_target(),
        rows={"forget": FORGET},
        tokenizer=tiny_tokenizer(),
        recipe=recipes_of("toy")[0],
    )
    entries = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries]
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 3
    assert fitted.summary["objective"] == {"margin_nats": 2.0, "margin_weight": 0.1}
    assert fitted.summary["terms"] == {name: entries[-1][name] for name in ("margin", "alternative")}
    assert fitted.summary["rows_a_step"] == {"forget": 2}
