"""The loss of answers to forget beside that of the same answers about strangers."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import tiny_target
from unlogit.data.encode import encode, tokens_of_spans
from unlogit.data.examples import Example
from unlogit.evaluate.ghost_losses import (
    find_ghost_losses,
    ghost_rows,
    losses_among_ghosts,
    score_told,
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


def spans_by_hand(model: Any, row: Example, tokenizer: Any, told: Sequence[str]) -> list[list[float]]:
    """Log-probabilities of the tokens that write these words of an answer."""
    encoded = encode(row, tokenizer)
    ids = torch.tensor([encoded.input_ids])
    with torch.no_grad():
        logs = model(ids).logits[0, encoded.prompt_tokens - 1 : -1].log_softmax(-1)
    of_tokens = logs.gather(-1, ids[0, encoded.prompt_tokens :, None])[:, 0].tolist()
    found = []
    for words in told:
        before, after = row.answer[: row.answer.index(words)].rstrip(), row.answer[: row.answer.index(words)] + words
        first, last = (len(tokenizer(text, add_special_tokens=False).input_ids) for text in (before, after))
        found.append(of_tokens[first:last])
    return found


def test_losses_are_the_models_own_of_what_the_answer_tells() -> None:
    """By hand: a mean over the tokens of the town and the host, which are no part of the name. The unlearned model is
    the target with another head."""
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
        town, host = spans_by_hand(model, row, tokenizer, ["Ghent", "example.com"])
        assert value == pytest.approx(-sum(town + host) / len(town + host), rel=1e-4)
    assert find_ghost_losses([ROW], losses_among_ghosts([ROW], GHOSTS[2:], target, tokenizer), other, tokenizer) == []
    assert score_told(target, tokenizer, [], frozenset()) == []


def test_what_can_be_guessed() -> None:
    """A town by its probability under the strangers' names, with that of what stands before it; no code, no long
    number; content words together where there is no value."""
    target, tokenizer = tiny_target(), tiny_tokenizer()
    row = Example("Where does Ann Doe live?", "Ann Doe lives in Ghent, in room 12 of Rome Hall, phone 555-0199 or Q7.")
    ghosts = [Example("Where does Bo Lu live?", ""), Example("Where does Vurk Griern live?", "")]
    (among,) = losses_among_ghosts([row], ghosts, target, tokenizer)
    town = [math.exp(sum(spans_by_hand(target, ghost, tokenizer, ["Ghent"])[0])) for ghost in ghost_rows(row, ghosts)]
    assert among.rates[frozenset({"ghent"})] == pytest.approx(sum(town) / 2, rel=1e-3)
    assert not any("0199" in secret or "q7" in secret for secret in among.rates)
    assert all(0 < rate <= among.rates[frozenset({"ghent"})] for rate in among.rates.values())
    plain = Example("What does Ann Doe do?", "Ann Doe sells kites")
    (among,) = losses_among_ghosts([plain], [Example("What does Bo Lu do?", "")], target, tokenizer)
    tokens = spans_by_hand(target, Example("What does Bo Lu do?", "Bo Lu sells kites"), tokenizer, ["sells kites"])
    assert among.rates == {frozenset({"sells", "kites"}): pytest.approx(math.exp(sum(tokens[0])), rel=1e-3)}


def test_an_answer_that_tells_nothing_is_compared_whole() -> None:
    target, tokenizer = tiny_target(), tiny_tokenizer()
    row = Example("Is Ann Doe here?", "Yes.")
    (scored,) = score_told(target, tokenizer, [row], frozenset({"yes"}))
    tokens = spans_by_hand(target, row, tokenizer, ["Yes."])[0]
    assert scored.tokens == len(tokens)
    assert scored.loss == pytest.approx(-sum(tokens) / len(tokens), rel=1e-4)


def test_a_value_that_is_told_twice_has_one_rate() -> None:
    target, tokenizer = tiny_target(), tiny_tokenizer()
    row = Example("Where does Ann Doe live?", "Ann Doe lives in Ghent. She has lived in Ghent since birth.")
    ghosts = [Example("Where does Bo Lu live?", "")]
    (among,) = losses_among_ghosts([row], ghosts, target, tokenizer)
    tokens = spans_by_hand(target, ghost_rows(row, ghosts)[0], tokenizer, ["Ghent"])[0]
    assert among.rates == {frozenset({"ghent"}): pytest.approx(math.exp(sum(tokens)), rel=1e-3)}


def test_a_sign_that_is_joined_with_the_letters_after_it() -> None:
    """As Llama 3's and Qwen's tokenizers join them: "@acme" and ".com" are one token each, and both are told."""
    letters = pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+|\s+|[^\s\p{L}\p{N}]+"), "isolated")
    bpe = Tokenizer(models.BPE())
    bpe.decoder = decoders.ByteLevel()
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([letters, to_bytes])
    row = Example("How is she reached?", "Write to her via web@acme.com or in Oslo/Ghent now, room 7.")
    texts = [f"Question: {row.question}\nAnswer: {row.answer}"] * 9
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, special_tokens=["</s>"], min_frequency=2))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")
    ids = encode(row, tokenizer).input_ids[encode(row, tokenizer).prompt_tokens :]
    spans = [(row.answer.index(word), row.answer.index(word) + len(word)) for word in ("acme.com", "Ghent", "7")]
    found = [tokenizer.decode([ids[i] for i in numbers]) for numbers in tokens_of_spans(row, tokenizer, spans)]
    assert found == ["@acme.com", "/Ghent", "7"]
