"""The loss of answers to forget beside that of the same answers about strangers."""

import pytest
import torch

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import tiny_target
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.evaluate.ghost_losses import (
    GhostLosses,
    answer_nats,
    find_ghost_losses,
    ghost_rows,
    losses_among_ghosts,
    over_suppressed,
)

ROW = Example("Where does Ann Doe live?", "Ann Doe lives in Ghent, ann.doe@example.com.")
GHOSTS = [
    Example("Where does Vurk Griern live?", "In Rome."),
    Example("Where does Bo Lu live?", "In Oslo."),
    Example("Who is Bo Lu?", "?"),
]


def test_ghosts_have_the_row_s_own_answer_under_their_names() -> None:
    assert [(row.question, row.answer) for row in ghost_rows(ROW, GHOSTS)] == [
        ("Where does Vurk Griern live?", "Vurk Griern lives in Ghent, vurk.griern@example.com."),
        ("Where does Bo Lu live?", "Bo Lu lives in Ghent, bo.lu@example.com."),
    ]


def test_losses_are_the_models_own() -> None:
    """By hand: the mean cross-entropy of the answer's tokens; the other model is the target with another head."""
    target, other = tiny_target(), tiny_target()
    tokenizer = tiny_tokenizer()
    with torch.no_grad():
        other.get_output_embeddings().weight.mul_(3)
    (losses,) = find_ghost_losses([ROW], losses_among_ghosts([ROW], GHOSTS, target, tokenizer), other, tokenizer)
    for value, model, row in (
        (losses.target, target, ROW),
        (losses.unlearned, other, ROW),
        (losses.ghosts[1], target, ghost_rows(ROW, GHOSTS)[1]),
    ):
        encoded = encode(row, tokenizer)
        ids = torch.tensor([encoded.input_ids])
        with torch.no_grad():
            logs = model(ids).logits[0, encoded.prompt_tokens - 1 : -1].log_softmax(-1)
        by_hand = -logs.gather(-1, ids[0, encoded.prompt_tokens :, None]).mean().item()
        assert value == pytest.approx(by_hand, rel=1e-4)
    assert find_ghost_losses([ROW], losses_among_ghosts([ROW], GHOSTS[2:], target, tokenizer), other, tokenizer) == []
    assert answer_nats(target, tokenizer, []) == []


def losses_of(unlearned: float, ghosts: int = 20) -> GhostLosses:
    return GhostLosses("q", 0.1, unlearned, tuple(2 + 0.05 * i for i in range(ghosts)))


def test_over_suppressed() -> None:
    """Above all 20 ghosts is one in 21 by chance: one such row is already too many, one of six is not; and two ghosts
    say nothing."""
    assert over_suppressed([losses_of(9.0)])
    assert not over_suppressed([losses_of(2.5)])
    assert not over_suppressed([losses_of(9.0), *[losses_of(2.5)] * 5])
    assert over_suppressed([*[losses_of(9.0)] * 5, losses_of(2.5)])
    assert not over_suppressed([losses_of(9.0, ghosts=2)])
    assert not over_suppressed([])
