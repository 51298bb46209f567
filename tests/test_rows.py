"""Rows of sides: put together, taken apart, and dealt to processes and accumulated batches."""

from typing import Any

import pytest
import torch

from support.models_for_tests import tiny_tokenizer
from support.tiny_run import tiny_tokenizer as people_tokenizer
from support.tiny_training import PEOPLE_ROWS, REFUSALS, ROWS, people_options, people_target, without
from unlogit.data.batches import pad_rows
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.objectives.sides import SIDES
from unlogit.settings.options import TrainOptions
from unlogit.training.recipe import OBJECTIVES, Recipe, UniformSide
from unlogit.training.reference import Reference
from unlogit.training.rows import Row, collate, predicting_positions, split_sides
from unlogit.training.steps import Steps, make_steps

ALL = torch.ones(len(SIDES), 2)
"""The shares of a whole step."""


def people_rows(objective: str, pools: Any = PEOPLE_ROWS, refusals: Any = REFUSALS, **changes: Any) -> list[Row]:
    """The rows of every side of an objective on the made-up people."""
    options = people_options(objective, **changes)
    return make_steps(OBJECTIVES[objective][0], people_tokenizer(), pools, options, refusals).rows


def of_side(rows: list[Row], side: str) -> list[Row]:
    return [row for row in rows if row.side == side]


def test_counts_of_the_uniform_side() -> None:
    options = TrainOptions(batch_size=16, neutral_fraction=0.25)

    def counts(*empty: str, **changes: Any) -> dict[str, int]:
        given = TrainOptions(**{**vars(options), **changes})
        side = UniformSide("uniform", ("retain", "perturbed", "neutral"))
        return counts_of(side, without(ROWS, *empty), given)

    def counts_of(side: UniformSide, pools: Any, given: TrainOptions) -> dict[str, int]:
        return {name: count for name, (_, count) in side.draw(pools, given).items()}

    assert counts() == {"retain": 6, "perturbed": 6, "neutral": 4}
    assert counts("perturbed") == {"retain": 12, "neutral": 4}
    assert counts("neutral") == {"retain": 8, "perturbed": 8}
    assert counts("retain", "perturbed") == {"neutral": 16}
    four = UniformSide("uniform", ("forget", "retain", "perturbed", "neutral"))
    assert counts_of(four, ROWS, options) == {"forget": 4, "retain": 4, "perturbed": 4, "neutral": 4}
    assert counts_of(four, {}, options) == {}
    assert counts(perturbed_fraction=0.125) == {"retain": 10, "neutral": 4, "perturbed": 2}
    assert counts("retain", perturbed_fraction=0.125) == {
        "perturbed": 12,
        "neutral": 4,
    }  # no other pool
    assert counts("perturbed", perturbed_fraction=0.125) == {"retain": 12, "neutral": 4}
    assert counts(perturbed_fraction=0.0) == {"retain": 12, "neutral": 4}
    assert counts(batch_size=4, uniform_ratio=3.0) == {"retain": 5, "perturbed": 4, "neutral": 3}
    assert counts(batch_size=4, uniform_ratio=0.1) == {"retain": 1}


def test_pools_are_joined_or_beside_each_other() -> None:
    """Near rows are joined to the forget rows of a side, and are apart from the other retain rows."""
    pools = {**ROWS, "near": ROWS["retain"][:1], "retain": ROWS["retain"][1:]}

    def steps_of(recipe: Recipe, pools: Any = pools) -> Steps:
        return make_steps(recipe, tiny_tokenizer(), pools, TrainOptions(batch_size=4), ())

    first, second = OBJECTIVES["dual_uld"]
    assert steps_of(first).per_step == {"forget+near": 4, "retain": 2, "perturbed": 1, "neutral": 1}
    assert [row.number for row in of_side(steps_of(first).rows, "forget")] == [0, 1, 2, 3]
    assert steps_of(second).per_step == {"near": 4, "forget": 1, "retain": 1, "perturbed": 1, "neutral": 1}
    divergence = steps_of(OBJECTIVES["divergence"][0], ROWS)
    assert divergence.per_step == {"forget+retain": 4}
    assert len(divergence.rows) == 5


def test_sides_are_put_together_and_taken_apart() -> None:
    """The logits of each side are those of its own rows, alone in a batch."""
    model = people_target()
    rows = people_rows("idk_ap")
    forget, retain = of_side(rows, "forget"), of_side(rows, "retain")
    batch = collate([([retain[3], forget[1], forget[2], retain[0]], ALL)])
    names = [SIDES[side] for side in batch["row_sides"].tolist()]
    assert names == [side for side in ("forget", "refusal", "retain", "retain_refusal") for _ in range(2)]
    assert batch["numbers"].tolist() == [1, 2, 1, 2, 3, 0, 3, 0]
    keep = predicting_positions(batch["token_sides"])
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[keep]
    sides = split_sides(logits, batch, None, Reference())
    refusals = [row.partner.encoded for row in (forget[1], forget[2]) if row.partner]
    wanted = {"refusal": refusals, "retain": [retain[3].encoded, retain[0].encoded]}
    assert sides.uniform is None
    for side, encoded in wanted.items():
        found = getattr(sides, side)
        assert found.lengths().tolist() == [row.answer_tokens for row in encoded]
        assert found.labels.tolist() == [token for row in encoded for token in row.input_ids[row.prompt_tokens :]]
        alone = pad_rows([encoded[1]])
        with torch.no_grad():
            own = model(alone["input_ids"]).logits[0, encoded[1].prompt_tokens - 1 : -1]
        torch.testing.assert_close(found.logits[found.rows == 1], own, atol=1e-4, rtol=1e-4)


def test_words_of_the_question_are_on_the_uniform_side() -> None:
    """Of "city five" after a question that names the city, "city" is; a common word is on no side."""
    asked = Example("who wrote the city book ?", "city five")
    sides = {}
    for common in (frozenset[str](), frozenset({"city"})):
        row = Row("forget", 0, encode(asked, tiny_tokenizer(), common=common))
        found = row.token_sides()[row.encoded.prompt_tokens :]
        sides[len(common)] = [SIDES[side] if side >= 0 else None for side in found][:2]
    assert sides[0] == ["uniform", "forget"]
    assert sides[1][1] == "forget"
    assert sides[1][0] in (None, "uniform")


def test_whole_rows_where_the_objective_says_so() -> None:
    rows = people_rows("me_gd")
    assert {row.encoded.prompt_tokens for row in of_side(rows, "forget")} == {1}
    assert min(row.encoded.prompt_tokens for row in of_side(rows, "retain")) > 1


def test_refusals_depend_on_the_rows_number() -> None:
    """And are the same in every pass."""
    rows = people_rows("dpo")
    assert rows == people_rows("dpo")
    partners = [row.partner for row in rows]
    assert [(one.side, one.number) for one in partners if one] == [("refusal", i) for i in range(4)]
    assert rows != people_rows("dpo", seed=1)


def test_rows_that_cannot_be_trained_on() -> None:
    text = {**PEOPLE_ROWS, "forget": [Example("", "Once upon a time.", kind="text")]}
    with pytest.raises(DataError, match="answers questions with refusals"):
        people_rows("dpo", text)
    with pytest.raises(DataError, match="no retain rows"):
        people_rows("npo_kl", without(PEOPLE_ROWS, "retain"))
    with pytest.raises(DataError, match="no forget rows"):
        people_rows("npo_kl", without(PEOPLE_ROWS, "forget"))
    with pytest.raises(ConfigError, match=r"give data\.refusals"):
        people_rows("dpo", refusals=[])


def dealt(objective: str, pieces: int, **changes: Any) -> Steps:
    """The steps of a recipe on the made-up people."""
    arguments = {"gradient_accumulation_steps": pieces}
    options = people_options(objective, training_arguments=arguments, **changes)
    return make_steps(OBJECTIVES[objective][0], people_tokenizer(), PEOPLE_ROWS, options, REFUSALS)


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_a_step_is_dealt_whole(pieces: int) -> None:
    """Each step's rows, every piece with some to forget, and its shares of the whole step's rows and tokens."""
    steps = dealt("idk_ap", pieces, batch_size=4)
    items = [steps[i] for i in range(len(steps))]
    assert [row for rows, _ in items for row in rows] == [
        steps.rows[i] for p in range(pieces) for i in steps.order[0][p::pieces]
    ]
    assert {len(rows) for rows, _ in items} == {8 // pieces}
    for rows, _ in items:
        sides = [row.side for row in rows]
        assert sides.count("forget") == sides.count("retain") == 4 // pieces
    batches = [collate([item]) for item in items]
    for number, side in enumerate(SIDES):
        for column, name in enumerate(("row_sides", "token_sides")):
            counts = [int((batch[name][..., column:] == number).sum()) for batch in batches]
            shares = [float(batch["shares"][number, column]) for batch in batches]
            assert shares == pytest.approx([pieces * count / max(1, sum(counts)) for count in counts]), side
    first = steps[0][0]
    steps.set_epoch(1)
    assert steps[0][0] != first


def test_a_step_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(ConfigError, match="for 3 processes or accumulated batches"):
        dealt("npo_kl", 3, batch_size=2)
    with pytest.raises(ConfigError, match="1 of the forget side and 3 of the uniform side, for 2"):
        dealt("uld", 2, batch_size=1, uniform_ratio=3.0)
    with pytest.raises(ConfigError, match="3 of the forget side and 1 of the uniform side, for 2"):
        dealt("uld", 2, batch_size=3, uniform_ratio=0.34)
