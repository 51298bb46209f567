"""A new objective is one file and one line in the table: here one with an answers side of its own, from this test."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch

from support.tiny_run import tiny_tokenizer
from support.tiny_training import FORGET, REFUSALS, people_options, people_target, train
from unlogit.objectives.sides import Sides, required, row_difference
from unlogit.objectives.terms import Term, Terms
from unlogit.settings.objective_options import ObjectiveOptions
from unlogit.settings.options import AssistantOptions
from unlogit.training.recipe import OBJECTIVES, Recipe, Side, recipes_of
from unlogit.training.trainable import WeightsModel


@dataclass(frozen=True)
class ToyOptions(ObjectiveOptions):
    """Weight of the margin, and its width in nats."""

    forget_weight: float = 0.1
    beta: float = 2.0


def prefer_refusals(sides: Sides, numbers: Mapping[str, float]) -> Terms:
    """A refusal shall be likelier than the answer, by a margin of ``beta`` nats; and likely in itself."""
    refusal = required(sides.refusal, "refusal")
    behind = row_difference(refusal.nll(), sides.forget.nll())  # [B]
    margin = torch.relu(behind + numbers["beta"]).mean()
    return {
        "forget": Term(margin, numbers["forget_weight"], "forget", "row"),
        "answer": Term(refusal.cross_entropy(), 1.0, "refusal"),
    }


TOY = Recipe(
    make=lambda target, shape, combination, seed: WeightsModel(target, None, seed),
    sides=(Side("forget", ("forget",)),),
    loss=prefer_refusals,
    options=ToyOptions,
    combines=False,
    needs=frozenset({"refusal"}),
    numbers=asdict(ToyOptions()),
)


@pytest.mark.parametrize("pieces", [1, 2])
def test_it_trains(pieces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss falls, also in accumulated batches; refusals became likelier than answers."""
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
        refusals=REFUSALS,
    )
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 3
    assert fitted.summary["objective"] == {"forget_weight": 0.1, "beta": 2.0}
    assert fitted.summary["rows_a_step"] == {"forget": 2}
