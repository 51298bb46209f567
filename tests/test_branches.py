"""Second branches: what each remembers, which rows are near, and divergence decoding, on tiny models."""

from dataclasses import replace
from pathlib import Path

import torch
from unlogit.training.branches import BRANCHES, nearest_rows
from unlogit.training.train import TrainingRows, branch_pools, train_assistant

from support.tiny_run import PEOPLE, tiny_tokenizer
from test_rewrite import FORGET, RETAIN, loss_of, options, people_target
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.settings.options import AssistantOptions

WRONG = [Example(row.question, "A pilot.") for row in FORGET]
NEUTRAL = [Example("What is two and two?", "Four.")]
ROWS = TrainingRows(FORGET, RETAIN, WRONG, NEUTRAL, RETAIN[:1], NEUTRAL)


def test_pools_of_each_branch() -> None:
    """Of six retain rows the second and the fifth are near: the first branch remembers them with the forget rows, the
    second them alone, and is flat on the forget rows."""
    first, second = BRANCHES["dual_uld"]
    remembered, flat = branch_pools(ROWS, first, [1, 4])
    assert remembered == [*FORGET, RETAIN[1], RETAIN[4]]
    assert flat["retain"] == [RETAIN[i] for i in (0, 2, 3, 5)]
    assert set(flat) == {"retain", "perturbed", "neutral"}
    remembered, flat = branch_pools(ROWS, second, [1, 4])
    assert remembered == [RETAIN[1], RETAIN[4]]
    assert flat["forget"] == FORGET
    assert (first.weight, second.weight) == (1.0, -1.0)
    with_, without = BRANCHES["divergence"]
    assert branch_pools(ROWS, with_, []) == ([*FORGET, *RETAIN], {})
    assert branch_pools(ROWS, without, []) == (RETAIN, {})
    assert branch_pools(replace(ROWS, perturbed=[]), BRANCHES["uld"][0], [])[1].keys() == {"retain", "neutral"}


def test_nearest_rows_by_an_independent_way() -> None:
    """Means over tokens of the last hidden states, less the mean of all retain rows; the largest cosine to any forget
    row, each row alone and unpadded. A retain row equal to a forget row is nearest of all."""
    target, tokenizer = people_target(), tiny_tokenizer()
    forget, rows = PEOPLE.forget[:4], [*PEOPLE.retain, PEOPLE.forget[2]]

    def vector(row: Example) -> torch.Tensor:
        ids = torch.tensor([encode(row, tokenizer).input_ids])
        with torch.no_grad():
            return target.model(ids).last_hidden_state[0].mean(0)

    vectors = [vector(row) for row in rows]
    centre = torch.stack(vectors).mean(0)
    goals = [vector(row) - centre for row in forget]
    likeness = [max(float(torch.cosine_similarity(one - centre, goal, dim=0)) for goal in goals) for one in vectors]
    order = sorted(range(len(rows)), key=lambda i: -likeness[i])
    for count in (1, 3, 8, 16):
        assert nearest_rows(target, tokenizer, forget, rows, count, 512) == sorted(order[:count])
    assert order[0] == len(rows) - 1
    assert nearest_rows(target, tokenizer, forget, rows, 0, 512) == []
    assert nearest_rows(target, tokenizer, forget, rows, 99, 512) == list(range(len(rows)))


def test_a_branch_without_a_flat_side_learns_its_rows(tmp_path: Path) -> None:
    """Divergence's second model never sees the forget rows and is flat nowhere: there is no flatness to tell."""
    target, tokenizer = people_target(), tiny_tokenizer()
    assistant, summary = train_assistant(
        target,
        tokenizer,
        ROWS,
        tmp_path / "assistant",
        AssistantOptions(num_layers=2, adapter="full"),
        options("divergence", epochs=8),
        bar=False,
        branch=BRANCHES["divergence"][1],
    )
    assert summary["rows_a_step"] == {"retain": 2}
    assert summary["flatness_nats"] == {}
    assert summary["steps"] == 24
    assert loss_of(assistant.view, RETAIN) < loss_of(assistant.view, FORGET) - 1
