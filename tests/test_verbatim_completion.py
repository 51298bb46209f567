"""Verbatim completion: ROUGE-L by hand and by an own longest common subsequence, and what generation starts from."""

import random
from typing import Any

import pytest
import torch

from support.models_for_tests import WORDS, tiny_llama, tiny_tokenizer
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.evaluate.metrics.table import compute_metrics
from unlogit.evaluate.metrics.verbatim_completion import verbatim_completion
from unlogit.evaluate.results import Role
from unlogit.evaluate.scoring.continuation import TEXT_PROMPT_TOKENS, beginning_tokens, continuation, longest_answer
from unlogit.evaluate.scoring.score import Score, score_examples

TOKENIZER = tiny_tokenizer()
MODEL = tiny_llama(len(TOKENIZER))


def score(generated: str, true: str) -> Score:
    return Score(1.0, 1, (), None, (), generated, f"a beginning {true}", kind="text", continuation=true)


@pytest.mark.parametrize(("role", "direction"), [("forget", "retain_model"), ("retain", "higher")])
def test_f_and_recall_by_hand(role: Role, direction: str) -> None:
    """Of six words the first has five in order, of six: F = R = 5/6. The second has two, of two: P = 1, R = 1/3, F =
    1/2. 'mats' is not 'mat': there is no stemmer. Means: F = 2/3, R = 7/12."""
    true = "the cat sat on the mat"
    result = verbatim_completion([score("The cat sat on the mats.", true), score("the cat", true)], role)
    assert result.per_example == pytest.approx((5 / 6, 1 / 2))
    assert result.value == pytest.approx(2 / 3)
    assert result.parts["recall"] == pytest.approx(7 / 12)
    assert (result.count, result.direction) == (2, direction)


def common(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, by its recursion."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_against_an_own_subsequence() -> None:
    chance = random.Random(0)
    words = [word for word in WORDS if word.isalpha()]
    for _ in range(20):
        true, made = (chance.choices(words[:8], k=chance.randint(3, 30)) for _ in range(2))
        length = common([word.lower() for word in true], [word.lower() for word in made])
        value = verbatim_completion([score(" ".join(made), " ".join(true))], "forget").value
        assert value == pytest.approx(2 * length / (len(true) + len(made)))


def text(tokens: int) -> Example:
    return Example("", " ".join(random.Random(1).choices(WORDS, k=tokens)), kind="text")


@pytest.mark.parametrize(
    ("tokens", "beginning", "rest", "allowed"), [(2, 1, 1, 1), (9, 4, 5, 5), (128, 64, 64, 20), (300, 64, 236, 20)]
)
def test_where_a_text_is_taken_up(tokens: int, beginning: int, rest: int, allowed: int) -> None:
    """The first half, of longer texts the first 64 tokens; then the rest, at most 20 tokens here."""
    example = text(tokens)
    row = encode(example, TOKENIZER)
    assert (len(row.input_ids), beginning_tokens(row)) == (tokens, beginning)
    assert longest_answer(example, TOKENIZER, 1000) == rest
    assert longest_answer(example, TOKENIZER, 20) == allowed
    words = example.answer.split()[beginning : beginning + allowed]
    assert continuation(example, TOKENIZER, 20) == " ".join(words)
    assert TEXT_PROMPT_TOKENS == 64


def test_other_rows_are_as_they_were() -> None:
    row = Example("who ?", "Anna")
    assert continuation(row, TOKENIZER, 20) is None
    assert longest_answer(row, TOKENIZER, 20) == 20


def going_on(ids: list[int], count: int, model: Any) -> list[int]:
    """The ids with the likeliest ``count`` tokens after them, one full forward for each."""
    for _ in range(count):
        with torch.no_grad():
            ids = [*ids, int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())]
    return ids


def written_by(model: Any, lengths: list[int]) -> list[Example]:
    """Texts of twice these lengths whose second half is the model's own; none that it would end (ids below 3)."""
    chance, texts = random.Random(2), []
    for length in lengths:
        ids = [0]
        while min(ids) < 3:
            ids = going_on([chance.randrange(3, len(TOKENIZER)) for _ in range(length)], length, model)
        texts.append(Example("", str(TOKENIZER.decode(ids)), kind="text"))
    return texts


def test_what_a_model_would_write_itself_is_verbatim_and_other_text_is_not() -> None:
    """In batches of rows of several lengths; each answer is as long as the rest of its own row."""
    own = written_by(MODEL, [5, 6, 7])
    foreign = written_by(tiny_llama(len(TOKENIZER), seed=1), [5, 6, 7])
    scores = score_examples(MODEL, TOKENIZER, [*own, *foreign], batch_size=4, generate=True, max_new_tokens=50)
    found = compute_metrics(scores, "forget")
    assert "rouge_l_recall" not in found
    values = found["verbatim_completion"].per_example
    assert values[:3] == (1.0, 1.0, 1.0)
    assert max(values[3:]) < 1
    for made, row, length in zip(scores[:3], own, (5, 6, 7), strict=True):
        assert made.generated == made.continuation == " ".join(row.answer.split()[length:])


def test_no_continuation_without_a_generated_one() -> None:
    scores = score_examples(MODEL, TOKENIZER, [text(9), text(12)], batch_size=4, generate=True, generate_rows=1)
    assert [score.continuation is None for score in scores] == [False, True]
    assert compute_metrics(scores, "forget")["verbatim_completion"].row_indices == (0,)
