"""Answers that share their prompt against every answer in a row of its own: same numbers, fewer tokens computed."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from support.models_for_tests import EXAMPLES, tiny_llama, tiny_tokenizer
from support.tiny_models import CONFIGS, random_assistant, tiny_target
from unlogit.data.encode import Encoded
from unlogit.data.examples import Example
from unlogit.evaluate.open_unlearning import tokens as open_unlearning_tokens
from unlogit.evaluate.scoring import answer_trees
from unlogit.evaluate.scoring import score as scoring
from unlogit.evaluate.scoring.answer_trees import answer_tree, fits_trees, padded_trees, split_rows
from unlogit.evaluate.scoring.batch import Batch, right_padded
from unlogit.evaluate.scoring.score import Score, measure_settings, score_examples
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.settings.options import CombinationOptions

TOKENIZER = tiny_tokenizer()
QUESTIONS = [
    *EXAMPLES,
    Example(
        "who is the author of the blue book of the city of oslo ?",
        "Frida",
        paraphrased_answer=("the author is Frida",),
        perturbed_answer=("Emil", "Dora is the author of the blue book", "Bert of paris", "Emil"),
    ),
    Example("in the city of rome", "was born Emil", kind="completion", perturbed_answer=("was Bert", "two three four")),
    Example("", "one two three", kind="text", perturbed_answer=("one two four", "three two one")),
    *(
        Example(f"in the city of {city} who wrote the green book ?", "Cora", perturbed_answer=("Bert", "Anna of paris"))
        for city in ("oslo", "paris", "rome")
    ),
]
WINDOWS = ("mistral", "gemma2", "gemma3")
COMBINATIONS = [CombinationOptions("centred", alpha, 0.01) for alpha in (0.0, 0.7, 2.0)]


def scored(model: Any, **settings: Any) -> list[Score]:
    given = {"batch_size": 4, "generate": False, "token_scores": True, **settings}
    return score_examples(model, TOKENIZER, QUESTIONS, **given)


@contextmanager
def plain_rows() -> Iterator[None]:
    """No model fits trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "fits_trees", lambda config: False)
        yield


def plainly(model: Any, **settings: Any) -> list[Score]:
    with plain_rows():
        return scored(model, **settings)


def assert_equal(found: list[Score], wanted: list[Score]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.hits == other.hits
        for name in ("answer_loss", "paraphrased_loss", "perturbed_loss", "token_log_probs", "token_z_scores"):
            value = getattr(other, name)
            assert getattr(one, name) == (None if value is None else pytest.approx(value, abs=1e-5, rel=1e-5)), name


@contextmanager
def counted(module: Any) -> Iterator[list[tuple[int, int, bool]]]:
    """Rows, tokens of a row and whether positions were given, of each forward of a module."""
    seen: list[tuple[int, int, bool]] = []

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        seen.append((*ids.shape, kwargs.get("position_ids") is not None))

    hook = module.register_forward_pre_hook(note, with_kwargs=True)
    yield seen
    hook.remove()


def tokens(seen: list[tuple[int, int, bool]]) -> int:
    return sum(rows * length for rows, length, _ in seen)


def forward_of(model: Any) -> Callable[[Batch], list[Tensor]]:
    def forward(batch: Batch) -> list[Tensor]:
        with torch.no_grad():
            logits = model(batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits
        return [batch.of_tokens(logits[batch.keep])]

    return forward


ROWS = [Encoded((3, 4, 5, 6, 7, 2), 3), Encoded((3, 4, 5, 8, 2), 3), Encoded((3, 4, 5, 2), 3)]
"""Answers 6 7 2, 8 2 and 2 to the prompt 3 4 5."""


def test_a_tree_by_hand() -> None:
    """3 4 5 | 6 7 | 8 |: three answers are read from the 5, then 7 from 6, 2 from 7, 2 from 8; padding sees no answer.

    A second tree shares 3 only, since its rows go on differently; both have two tokens of prompt.
    """
    other = answer_tree([Encoded((3, 4, 9, 2), 2), Encoded((3, 5, 2), 2)])
    batch = padded_trees([answer_tree(ROWS), other], 1, "cpu", torch.float32)
    assert batch.input_ids.tolist() == [[3, 4, 5, 6, 7, 8], [3, 4, 9, 5, 1, 1]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 2, 1, 0, 0]]
    assert batch.keep.int().tolist() == [[0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0]]
    assert batch.reads is not None
    assert batch.reads.tolist() == [0, 1, 2, 0, 3, 0, 4, 5, 6]
    assert batch.tokens.tolist() == [6, 7, 2, 8, 2, 2, 9, 2, 2]
    assert batch.counts == [3, 2, 1, 2, 1]
    assert batch.attention_mask.shape == (2, 1, 6, 6)
    seen = (batch.attention_mask[:, 0] == 0).int().tolist()
    assert seen[0] == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],
    ]
    assert seen[1][3] == [1, 0, 0, 1, 0, 0]
    assert seen[1][5] == [1, 0, 0, 0, 1, 1]


def test_rows_are_split_where_a_tree_is_full() -> None:
    """Of the 15 tokens of the rows, one tree has 6, and the first row with a tree of the others 5 and 4."""
    assert split_rows(ROWS, 100) == split_rows(ROWS, 6) == [[0, 1, 2]]
    assert split_rows(ROWS, 5) == [[0], [1, 2]]
    assert split_rows(ROWS, 1) == [[0], [1], [2]]
    assert split_rows(ROWS[:1], 100) == [[0]]
    long = [Encoded((3, *range(4, 14), answer, 2), 1) for answer in (20, 21)]  # 1 + 11 + 11 tokens of 26
    assert split_rows(long, 100) == [[0], [1]]
    assert split_rows([Encoded((3, 4, 2), 1), Encoded((5, 4, 2), 1)], 100) == [[0], [1]]


def test_what_of_the_prompt_differs_is_of_each_answer() -> None:
    """Prompts of 4 and 3 tokens of which 2 are the same, answers of one token among them."""
    model = tiny_target()
    rows = [Encoded((3, 4, 5, 6, 7, 2), 4), Encoded((3, 4, 8, 2), 3), Encoded((3, 4, 9, 10, 11, 12, 2), 3)]
    forward = forward_of(model)
    (found,) = forward(padded_trees([answer_tree(rows), answer_tree(ROWS)], 0, "cpu", torch.float32))
    (wanted,) = forward(right_padded([*rows, *ROWS], 0, "cpu"))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", [name for name in CONFIGS if name not in WINDOWS])
def test_trees_give_what_plain_rows_give(architecture: str) -> None:
    model = tiny_target(architecture)
    with counted(model) as before:
        wanted = plainly(model)
    with counted(model) as seen:
        assert_equal(scored(model), wanted)
    assert not any(given for *_, given in before)
    assert sum(given for *_, given in seen) > 1  # those tried first, and more


def test_fewer_tokens_are_computed() -> None:
    model = tiny_target()
    questions = 5 * QUESTIONS[5:6]
    with counted(model) as seen:
        score_examples(model, TOKENIZER, questions, batch_size=8, generate=False)
    with plain_rows(), counted(model) as before:
        score_examples(model, TOKENIZER, questions, batch_size=8, generate=False)
    assert tokens(seen) < 0.7 * tokens(before)  # what was tried first included


def test_eager_attention_takes_the_mask() -> None:
    model = tiny_llama(len(TOKENIZER), attn_implementation="eager")
    with counted(model) as seen:
        assert_equal(scored(model), plainly(model))
    assert sum(given for *_, given in seen) > 1


@pytest.mark.parametrize("architecture", WINDOWS)
def test_windows_stay_plain(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their config; were they tried, the longest tree would tell."""
    model = tiny_target(architecture)
    assert not fits_trees(model.config)
    wanted = plainly(model)
    with counted(model) as seen:
        assert_equal(scored(model), wanted)
    assert not any(given for *_, given in seen)
    monkeypatch.setattr(scoring, "fits_trees", lambda config: True)
    with counted(model) as seen:
        assert_equal(scored(model), wanted)
    assert [given for *_, given in seen].count(True) == 1


def test_flash_attention_stays_plain() -> None:
    config = copy.deepcopy(CONFIGS["llama"])
    config._attn_implementation = "sdpa"
    assert fits_trees(config)
    config._attn_implementation = "flash_attention_2"
    assert not fits_trees(config)


class Odd(torch.nn.Module):
    """A llama whose forward changes what it is given with trees."""

    def __init__(self, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]) -> None:
        super().__init__()
        self.change, self.model, self.trees = change, tiny_target(), 0
        self.config, self.device = self.model.config, self.model.device

    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool, position_ids: Any = None) -> Any:
        if position_ids is not None:
            self.trees += 1
            attention_mask, position_ids = self.change(attention_mask, position_ids)
        return self.model(input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=use_cache)


def refuse(mask: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    raise ValueError("a mask of four dimensions")


@pytest.mark.parametrize(
    "change",
    [
        lambda mask, positions: (mask, None),
        lambda mask, positions: (mask, positions[:1].expand_as(positions)),
        lambda mask, positions: (torch.full_like(mask, torch.finfo(mask.dtype).min).triu(1), positions),
        lambda mask, positions: (mask[:1], positions),
        lambda mask, positions: (mask * float("nan"), positions),
        refuse,
    ],
    ids=["no positions", "positions of the first row", "no mask", "mask of the first row", "nan", "raises"],
)
def test_models_that_read_trees_wrongly_stay_plain(change: Any) -> None:
    model = Odd(change)
    assert_equal(scored(model), plainly(model.model))
    assert model.trees == 1
    right = Odd(lambda mask, positions: (mask, positions))
    scored(right)
    assert right.trees > 1


def unlearned(mode: str) -> UnlearnedForCausalLM:
    """Three branches: two of LoRA that are as deep as not, one of whole blocks."""
    target = tiny_target()
    assistants = [
        random_assistant(target, 2, seed=1),
        random_assistant(target, 3, seed=2),
        random_assistant(target, 2, adapter="full", seed=3),
    ]
    return UnlearnedForCausalLM.build(target, assistants, [1.0, -0.5, 0.3], mode=mode)


@pytest.mark.parametrize("mode", ["fused", "shared", "copy"])
def test_the_unlearned_model_reads_trees_in_every_mode(mode: str) -> None:
    model = unlearned(mode)
    with counted(model) as seen:
        found = scored(model)
    assert sum(given for *_, given in seen) > 1
    assert_equal(found, plainly(unlearned("shared")))


@pytest.mark.parametrize("mode", ["fused", "shared", "copy"])
def test_settings_of_trees_equal_those_of_plain_rows(mode: str) -> None:
    model = unlearned(mode)
    seen: dict[bool, list[tuple[int, bool]]] = {}
    measured = {}
    for share in (False, True):
        calls = seen[share] = []

        def parts(ids: Any, mask: Any, keep: Any, positions: Any, calls: Any = calls) -> Any:
            calls.append((ids.numel(), positions is not None))
            return model.parts(ids, mask, keep, positions)

        settings: dict[str, Any] = {"weights": model.weights, "device": "cpu", "batch_size": 4, "share": share}
        measured[share] = measure_settings(parts, TOKENIZER, QUESTIONS, COMBINATIONS, **settings)
    for number in range(len(COMBINATIONS)):
        assert_equal(measured[True].scores(number), measured[False].scores(number))
    assert not any(given for _, given in seen[False])
    assert sum(given for _, given in seen[True]) > 1


def test_trees_are_cut_at_the_most_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 34 tokens the longest question's six answers take two trees."""
    model = tiny_target()
    wanted = plainly(model)
    with counted(model) as seen:
        scored(model)
    assert max(length for _, length, given in seen if given) > 34
    monkeypatch.setattr(answer_trees, "MAX_TREE_TOKENS", 34)
    with counted(model) as seen:
        assert_equal(scored(model), wanted)
    assert 20 < max(length for _, length, given in seen if given) <= 34


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_trees_keep_to_the_tokens_of_a_batch(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than ``batch_size`` of the longest row has, and no more than logits are room for."""
    model = tiny_target()
    wanted = plainly(model)
    with counted(model) as seen, plain_rows():
        scored(model, batch_size=1)
    longest = max(length for _, length, _ in seen)
    with counted(model) as seen:
        assert_equal(scored(model, batch_size=batch_size), wanted)
    assert all(rows * length <= batch_size * longest for rows, length, given in seen if given)
    monkeypatch.setattr(scoring, "MAX_BATCH_LOGITS", 40 * len(TOKENIZER))
    with counted(model) as seen:
        assert_equal(scored(model, batch_size=8), wanted)
    assert all(rows * length <= 40 for rows, length, _ in seen)


def test_a_reading_that_hides_a_token_stays_plain(chat_tokenizer: Any) -> None:
    model = tiny_target()
    model.resize_token_embeddings(len(chat_tokenizer))
    with counted(model) as seen:
        score_examples(
            model,
            chat_tokenizer,
            QUESTIONS[:2],
            batch_size=4,
            generate=False,
            prompt_format=open_unlearning_tokens.PROMPT_FORMAT,
        )
    assert seen
    assert not any(given for *_, given in seen)


def test_rows_of_one_answer_are_not_tried() -> None:
    model = tiny_target()
    with counted(model) as seen:
        score_examples(model, TOKENIZER, EXAMPLES[2:], batch_size=4, generate=False)
    assert len(seen) == 1
