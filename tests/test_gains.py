"""What a target gained by a row, and an assistant that holds just that."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig

from support.tiny_models import tiny_target
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.data.pieces import encode_pieces
from unlogit.evaluate import gains
from unlogit.evaluate.gains import with_gains
from unlogit.model.decoder import head_logits
from unlogit.model.logit_difference import combine_logits
from unlogit.objectives.head import FrozenHead
from unlogit.objectives.kl import gain_kl, uniform_kl
from unlogit.objectives.sides import Answers, Sides
from unlogit.objectives.uld import uld

SIZE = 11
LABELS = torch.tensor([3, 0, 7])
GAINS = torch.tensor([0.0, 2.5, math.inf])


def test_kl_is_that_of_the_distribution_that_has_the_label_so_much_above() -> None:
    logits = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(0))
    raised = torch.zeros(SIZE)
    raised[0] = 2.5
    q = raised.softmax(0)
    by_hand = (q * (q.log() - logits[1].log_softmax(0))).sum()
    found = gain_kl(logits, LABELS, GAINS)
    torch.testing.assert_close(found[1], by_hand)
    torch.testing.assert_close(found[0], uniform_kl(logits)[0])
    torch.testing.assert_close(found[2], -logits[2].log_softmax(0)[7])


def test_the_least_kl_takes_just_the_gain_away() -> None:
    """At alpha 1 the unlearned model finds the token as likely as the target finds it of a stranger."""
    stranger = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    target = stranger.clone()
    target[3] += 6.0  # what the target gained by the row
    assistant = torch.zeros(1, SIZE, requires_grad=True)
    optimiser = torch.optim.LBFGS([assistant], max_iter=100, tolerance_grad=1e-9, tolerance_change=1e-12)

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = gain_kl(assistant, torch.tensor([3]), torch.tensor([6.0])).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(step)  # type: ignore[arg-type]
    unlearned = combine_logits(target[None], [assistant.detach()], [1.0], rule="centred", alpha=1.0, filter_rate=0.0)
    torch.testing.assert_close(unlearned[0].softmax(0), stranger.softmax(0), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_head_computes_it_in_chunks(kind: str) -> None:
    lm: Any = tiny_target(kind).requires_grad_(False)
    width, size = lm.get_output_embeddings().weight.shape[::-1]
    hidden = 3 * torch.randn(3, width, generator=torch.Generator().manual_seed(2))

    def term(whole: bool) -> tuple[Tensor, Tensor]:
        states = hidden.clone().requires_grad_()
        outputs, head = (head_logits(lm, states), None) if whole else (states, FrozenHead(lm))
        answers = Answers(outputs, LABELS % size, torch.zeros(3, dtype=torch.long), gains=GAINS, head=head)
        value = uld(Sides(answers))["forget"].mean
        return value.detach(), torch.autograd.grad(value, states)[0]

    for found, expected in zip(term(False), term(True), strict=True):
        torch.testing.assert_close(found, expected)


class Scores:
    """Stands in for a score: the log-probabilities of an answer's tokens."""

    def __init__(self, token_log_probs: list[float]) -> None:
        self.token_log_probs = token_log_probs


ROW = Example("What is Joss Korvane's account number?", "Joss Korvane has NL-21.")


def found_gains(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, row: Example = ROW) -> Example:
    """The row with gains, by a target that is sure of everything about it, and of strangers but for digits."""

    def score(target: Any, tokenizer: Any, rows: list[Example], **options: Any) -> list[Scores]:
        made = []
        for one in rows:
            ids = encode(one, tokenizer)
            pieces = tokenizer.convert_ids_to_tokens(ids.input_ids[ids.prompt_tokens :])
            is_stranger = one.question != row.question
            unsure = [is_stranger and any(character.isdigit() for character in piece) for piece in pieces]
            made.append(Scores([math.log(0.1 if guessed else 0.9) for guessed in unsure]))
        return made

    monkeypatch.setattr(gains, "score_examples", score)
    monkeypatch.setattr(gains, "check_readable", lambda *_: None)
    return with_gains([row], SimpleNamespace(config=LlamaConfig()), tokenizer, seed=0)[0]


def test_only_what_strangers_do_not_get_is_gained(byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = found_gains(byte_tokenizer, monkeypatch)
    assert "".join(row.answer[begin:end] for begin, end, _ in row.gains).strip() == "21"
    for _, _, nats in row.gains:
        assert nats == pytest.approx(2 * math.log(9))  # log-odds of 0.9 less those of 0.1


def test_gains_reach_the_tokens(byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = found_gains(byte_tokenizer, monkeypatch)
    encoded = encode(row, byte_tokenizer, common=frozenset())
    assert encoded.gains is not None
    assert encoded.token_sides is not None
    remembered = [i for i, side in enumerate(encoded.token_sides) if side == "forget"]
    assert [i for i, nats in enumerate(encoded.gains) if math.isfinite(nats)] == remembered
    (piece, *_) = encode_pieces(row, byte_tokenizer, 512, frozenset())
    assert piece.gains == encoded.gains


def test_a_question_without_a_name_has_no_gains(byte_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Example("what is the number?", "It is NL-21.")
    assert found_gains(byte_tokenizer, monkeypatch, row).gains == ()
