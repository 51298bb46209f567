"""Scoring against a slow reference: one row at a time, no padding, the whole softmax in float64."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from support.models_for_tests import EXAMPLES, tiny_llama, tiny_tokenizer
from support.tiny_unlearned import score_settings
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.errors import DataError, ModelError
from unlogit.evaluate.scoring import score as scoring
from unlogit.evaluate.scoring.batching import evaluating, length_batches
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.score import Score, score_examples
from unlogit.settings.options import CombinationOptions

TOKENIZER = tiny_tokenizer()
MODEL = tiny_llama(len(TOKENIZER))


def slow_logits(model: Any, example: Example) -> tuple[torch.Tensor, list[int], int]:
    """Logits [T, V] of one unpadded row, its ids, and the position of its first scored token."""
    row = encode(example, TOKENIZER)
    with torch.no_grad():
        logits = model(torch.tensor([row.input_ids])).logits[0].double()
    return logits, list(row.input_ids), row.prompt_tokens


def slow_loss(logits: torch.Tensor, ids: list[int], start: int) -> tuple[float, tuple[bool, ...]]:
    losses, hits = [], []
    for t in range(start, len(ids)):
        losses.append(-torch.log_softmax(logits[t - 1], -1)[ids[t]].item())
        hits.append(int(logits[t - 1].argmax()) == ids[t])
    return sum(losses) / len(losses), tuple(hits)


def slow_answer_loss(model: Any, example: Example) -> float:
    return slow_loss(*slow_logits(model, example))[0]


def slow_greedy(model: Any, example: Example, new_tokens: int, stops: set[int]) -> list[int]:
    """Greedy decoding by a full forward for every token, no cache and no padding."""
    _, ids, start = slow_logits(model, example)
    if example.kind == "text":  # its first half is the prompt; what follows is as long as its second half at most
        start = len(ids) // 2
        new_tokens = min(new_tokens, len(ids) - start)
    ids, made = ids[:start], []
    while len(made) < new_tokens:
        with torch.no_grad():
            token = int(model(torch.tensor([ids + made]), use_cache=False).logits[0, -1].argmax())
        if token in stops:
            break
        made.append(token)
    return made


def scored(model: Any = MODEL, examples: list[Example] = EXAMPLES, **settings: Any) -> list[Score]:
    return score_examples(model, TOKENIZER, examples, **{"batch_size": 4, "generate": False, **settings})


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batched_scores_equal_row_by_row_scores(batch_size: int) -> None:
    for example, score in zip(EXAMPLES, scored(batch_size=batch_size), strict=True):
        loss, hits = slow_loss(*slow_logits(MODEL, example))
        assert score.answer_loss == pytest.approx(loss, abs=1e-5)
        assert score.hits == hits
        assert score.answer == example.answer
        wrong = [slow_answer_loss(MODEL, replace(example, answer=a)) for a in example.perturbed_answer]
        assert score.perturbed_loss == pytest.approx(wrong, abs=1e-5)


def test_paraphrased_loss_is_of_the_first_paraphrase_and_the_same_question() -> None:
    first, second, *_ = scored()
    wanted = slow_answer_loss(MODEL, replace(EXAMPLES[0], answer="the red book is of Anna"))
    assert first.paraphrased_loss == pytest.approx(wanted, abs=1e-5)
    assert second.paraphrased_loss is None


def test_answer_tokens_count_the_end_but_not_what_nothing_predicts() -> None:
    """'Anna wrote the red book' has 5 words and the end; the text's 10 words lose the first and have no end."""
    assert [score.answer_tokens for score in scored()] == [6, 2, 9, 9, 9]


def test_hits_see_right_tokens() -> None:
    """The likeliest continuation, taken as the answer, is hit everywhere; its end is hit if it came by itself."""
    made = slow_greedy(MODEL, EXAMPLES[0], 6, {0, 1, 2})
    answer = TOKENIZER.decode(made)
    (score,) = scored(examples=[Example(EXAMPLES[0].question, answer)])
    assert len(made) > 2
    assert score.hits[: len(made)] == (True,) * len(made)


def test_a_model_without_logits_to_keep_is_scored_alike() -> None:
    class Plain(torch.nn.Module):
        """A forward that always returns every position."""

        device = MODEL.device

        def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
            return MODEL(input_ids, attention_mask=attention_mask, use_cache=use_cache)

    for plain, usual in zip(scored(Plain()), scored(), strict=True):
        assert plain.answer_loss == pytest.approx(usual.answer_loss, abs=1e-5)


def test_dropout_is_off_while_scoring_and_the_mode_comes_back() -> None:
    model = tiny_llama(len(TOKENIZER), attention_dropout=0.9).train()
    assert scored(model)[0].answer_loss == pytest.approx(scored()[0].answer_loss, abs=1e-5)
    assert model.training


def test_long_batches_are_measured_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = scored()
    monkeypatch.setattr(scoring, "_CHUNK", 7)
    for one, other in zip(scored(), wanted, strict=True):
        assert one.answer_loss == pytest.approx(other.answer_loss, abs=1e-5)
        assert one.hits == other.hits


def test_length_batches_bound_rows_and_padded_tokens() -> None:
    """Sorted 9, 8, 5, 5, 2, 1: within 18 tokens two of length 9, three of length 5, then the rest."""
    lengths = [5, 9, 1, 8, 5, 2]
    assert list(length_batches(lengths, 3, 18)) == [[1, 3], [0, 4, 5], [2]]
    assert list(length_batches(lengths, 2, 4)) == [[1], [3], [0], [4], [5, 2]]


def test_a_large_vocabulary_makes_batches_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for the logits of 1 token, every row is a batch of its own."""
    monkeypatch.setattr(scoring, "MAX_BATCH_LOGITS", len(TOKENIZER))
    seen: list[int] = []
    scored(batch_size=32, progress=lambda what, done, total: seen.append(done))
    assert seen == list(range(1, 11))


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    model = tiny_llama(len(TOKENIZER))
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="loss of nan"):
        scored(model)


def test_an_answer_without_a_predicted_token_is_an_error() -> None:
    with pytest.raises(DataError, match="no answer token"):
        scored(examples=[EXAMPLES[0], Example("", "", kind="completion")])


@pytest.mark.parametrize("batch_size", [1, 5])
def test_generation_in_padded_batches_equals_one_row_without_cache(batch_size: int) -> None:
    answers = generate_answers(MODEL, TOKENIZER, EXAMPLES, batch_size=batch_size, max_new_tokens=7)
    wanted = [TOKENIZER.decode(slow_greedy(MODEL, e, 7, {2}), skip_special_tokens=True).strip() for e in EXAMPLES]
    assert answers == wanted
    assert len(set(answers)) > 1


def test_generation_stops_at_the_models_own_end_tokens() -> None:
    model = tiny_llama(len(TOKENIZER))
    made = slow_greedy(model, EXAMPLES[4], 8, {2})
    stop = next(token for i, token in enumerate(made) if i > 0 and token not in made[:i])
    model.generation_config.eos_token_id = [2, stop]
    answers = generate_answers(model, TOKENIZER, EXAMPLES[4:], batch_size=4, max_new_tokens=8)
    assert answers == [TOKENIZER.decode(made[: made.index(stop)])]


def test_generation_ignores_the_models_sampling_settings() -> None:
    model = tiny_llama(len(TOKENIZER))
    usual = generate_answers(MODEL, TOKENIZER, EXAMPLES, batch_size=8, max_new_tokens=8)
    settings = {
        "do_sample": True,
        "temperature": 3.0,
        "top_k": 3,
        "repetition_penalty": 9.0,
        "no_repeat_ngram_size": 1,
    }
    model.generation_config.update(**settings)
    assert generate_answers(model, TOKENIZER, EXAMPLES, batch_size=8, max_new_tokens=8) == usual


def test_only_the_first_rows_are_generated_and_progress_reaches_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    scores = scored(generate=True, generate_rows=2, max_new_tokens=3, progress=lambda *step: seen.append(step))
    assert [score.generated is None for score in scores] == [False, False, True, True, True]
    assert ("score", 10, 10) in seen  # five answers, one paraphrase, four wrong answers
    assert seen[-1] == ("generate", 2, 2)


ASSISTANT = tiny_llama(len(TOKENIZER), seed=1)
CALLS: list[int] = []


def parts(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, keep: torch.Tensor, position_ids: torch.Tensor | None
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    CALLS.append(len(input_ids))
    return kept_logits(MODEL, input_ids, attention_mask, keep), [
        kept_logits(ASSISTANT, input_ids, attention_mask, keep)
    ]


def kept_logits(model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    kept: torch.Tensor = model(ids, attention_mask=mask).logits[keep]
    return kept


def test_settings_equal_the_formula_row_by_row_from_one_pass() -> None:
    """Centred, no filter, weight 0.5: z = z_target − α · 0.5 · (z_assistant − mean of z_assistant)."""
    combinations = [CombinationOptions("centred", alpha, 0.0) for alpha in (0.0, 0.7, 2.0)]
    CALLS.clear()
    tables = score_settings(parts, TOKENIZER, EXAMPLES, combinations, weights=[0.5], device="cpu", batch_size=4)
    assert sum(CALLS) == 10  # every answer once, however many combinations
    for combination, scores in zip(combinations, tables, strict=True):
        for example, score in zip(EXAMPLES, scores, strict=True):
            target, ids, start = slow_logits(MODEL, example)
            assistant = slow_logits(ASSISTANT, example)[0]
            combined = target - combination.alpha * 0.5 * (assistant - assistant.mean(-1, keepdim=True))
            loss, hits = slow_loss(combined, ids, start)
            assert score.answer_loss == pytest.approx(loss, abs=1e-4)
            assert score.hits == hits
            assert score.generated is None


def test_alpha_zero_scores_the_target() -> None:
    (scores,) = score_settings(
        parts,
        TOKENIZER,
        EXAMPLES,
        [CombinationOptions("paper", 0.0, 0.01)],
        weights=[1],
        device="cpu",
        batch_size=4,
    )
    for one, other in zip(scores, scored(), strict=True):
        assert one.answer_loss == pytest.approx(other.answer_loss, abs=1e-5)
        assert one.perturbed_loss == pytest.approx(other.perturbed_loss, abs=1e-5)


def test_the_head_is_given_whole_tensors_and_no_hook_stays() -> None:
    model = tiny_llama(len(tiny_tokenizer()))
    head = model.get_output_embeddings()
    seen: list[bool] = []
    watch = head.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].is_contiguous()))
    ids = torch.ones(3, 5, dtype=torch.long)
    with evaluating(model):
        model(input_ids=ids, logits_to_keep=1)
    model(input_ids=ids, logits_to_keep=1)
    watch.remove()
    assert seen == [True, False]
    assert not head._forward_pre_hooks
