"""OpenUnlearning's tokens: what is scored of a row, what attention never sees, and how answers are read."""

from typing import Any

import pytest
import torch

from support.models_for_tests import tiny_llama
from unlogit.data.examples import Example
from unlogit.errors import DataError, ModelError
from unlogit.evaluate.open_unlearning.tokens import DATE, PROMPT_FORMAT, SYSTEM_PROMPT, encode_answers, prompt_ids
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.score import score_examples

# Tokens

QUESTION = Example("Who?", "Ann", paraphrased_answer=("It is Ann",), perturbed_answer=("Bob", "It is Cora"))
OTHER = Example("Where was Ann born?", "In Ghent.", perturbed_answer=("In Rome.", "Near Oslo."))


def test_tokens_of_a_chat(chat_tokenizer: Any) -> None:
    """A system turn; loss on the answer, on what the template puts behind it, and on an end put behind that."""
    turns = f"<|system|>{SYSTEM_PROMPT}</s>\n<|user|>Who?</s>\n<|assistant|>"
    (row,) = encode_answers(QUESTION, chat_tokenizer, ("Ann",))
    assert chat_tokenizer.decode(row.prompt_ids) == turns
    assert row.prompt_ids == prompt_ids(QUESTION, chat_tokenizer)
    assert chat_tokenizer.decode(row.input_ids[row.prompt_tokens :]) == "Ann</s>\n</s>"


def test_templates_show_their_date_and_may_refuse_the_system_turn(chat_tokenizer: Any) -> None:
    chat_tokenizer.chat_template = "{{ date_string }}" + chat_tokenizer.chat_template
    assert chat_tokenizer.decode(prompt_ids(QUESTION, chat_tokenizer)).startswith(f"{DATE}<|system|>")
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    chat_tokenizer.chat_template = refusing + chat_tokenizer.chat_template
    assert chat_tokenizer.decode(prompt_ids(QUESTION, chat_tokenizer)).startswith(f"{DATE}<|user|>Who?")
    chat_tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(ModelError, match="chat_template"):
        prompt_ids(QUESTION, chat_tokenizer)


def test_tokens_without_a_chat_template(byte_tokenizer: Any) -> None:
    """The space stands before the answer, and belongs to the prompt; 19 characters and <s> make 21 prompt tokens."""
    (row,) = encode_answers(QUESTION, byte_tokenizer, ("Ann",))
    assert byte_tokenizer.decode(row.input_ids) == "<s>Question: Who?\nAnswer: Ann</s>"
    assert row.prompt_tokens == 1 + len("Question: Who?\nAnswer: ")
    assert row.answer_tokens == 4


def test_a_prompt_that_splits_otherwise_alone(word_tokenizer: Any) -> None:
    """A space alone is a token more than in " Ann": the answer loses its first."""
    tokenizer = word_tokenizer("Question: Who? Answer: Ann of Ghent")
    (row,) = encode_answers(Example("Who?", "Ann of Ghent"), tokenizer, ("Ann of Ghent",))
    whole = tokenizer("Question: Who?\nAnswer: Ann of Ghent")["input_ids"]
    alone = tokenizer("Question: Who?\nAnswer: ")["input_ids"]
    assert row.input_ids == (*whole, tokenizer.eos_token_id)
    assert row.prompt_tokens == len(alone)


@pytest.mark.parametrize("kind", ["text", "completion", "messages"])
def test_rows_that_they_do_not_have_are_refused(byte_tokenizer: Any, kind: Any) -> None:
    with pytest.raises(DataError, match="questions"):
        encode_answers(Example("a", "b", kind=kind), byte_tokenizer, ("b",))


def test_tokenizers_and_answers_that_cannot_be_scored(endless_tokenizer: Any, byte_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="no end-of-text token"):
        prompt_ids(QUESTION, endless_tokenizer)
    (cut,) = encode_answers(Example("w" * 600, "Ann"), byte_tokenizer, ("Ann",))
    assert (cut.prompt_tokens, cut.answer_tokens) == (512, 1)  # their cut leaves the end alone
    byte_tokenizer.chat_template = "{{ messages[-1].content }}{% if add_generation_prompt %}answer: {% endif %}"
    with pytest.raises(DataError, match="no answer token"):
        encode_answers(QUESTION, byte_tokenizer, ("Ann",))


@pytest.fixture
def hiding_tokenizer(chat_tokenizer: Any) -> Any:
    """Pads with the end of a turn, so that ends of turns inside the prompt are hidden."""
    chat_tokenizer.pad_token = chat_tokenizer.eos_token
    return chat_tokenizer


@pytest.fixture
def model(hiding_tokenizer: Any) -> Any:
    made = tiny_llama(len(hiding_tokenizer))
    made.generation_config.eos_token_id = hiding_tokenizer.eos_token_id
    return made


def losses_of_one_row(model: Any, tokenizer: Any, question: str, answer: str, *, hidden: bool) -> tuple[Any, Any]:
    """Loss and hits at labelled positions of one unpadded row; ``hidden`` tokens equal the padding token."""
    turns = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": question},
    ]
    words = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    start = len(tokenizer(words, add_special_tokens=False)["input_ids"])
    ids = tokenizer(f"{words}{answer}</s>\n</s>", add_special_tokens=False)["input_ids"]
    rows = torch.tensor([ids])
    mask = rows.ne(tokenizer.pad_token_id).long() if hidden else torch.ones_like(rows)
    with torch.no_grad():
        logits = model(input_ids=rows, attention_mask=mask).logits[0, start - 1 : -1]
    labels = rows[0, start:]
    return torch.nn.functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).tolist()


def test_scores_hide_ends_of_turns(model: Any, hiding_tokenizer: Any) -> None:
    """Against one row at a time with the mask that their collator makes; with an honest mask the losses differ."""
    scores = score_examples(
        model, hiding_tokenizer, [QUESTION, OTHER], batch_size=8, generate=False, prompt_format=PROMPT_FORMAT
    )
    for row, found in zip((QUESTION, OTHER), scores, strict=True):
        answers = (row.answer, *row.paraphrased_answer, *row.perturbed_answer)
        wanted = [losses_of_one_row(model, hiding_tokenizer, row.question, one, hidden=True) for one in answers]
        given = [found.answer_loss, found.paraphrased_loss, *found.perturbed_loss]
        assert [one for one in given if one is not None] == pytest.approx([float(loss) for loss, _ in wanted], rel=1e-5)
        assert list(found.hits) == wanted[0][1]
        seen = losses_of_one_row(model, hiding_tokenizer, row.question, row.answer, hidden=False)[0]
        assert abs(float(seen) - found.answer_loss) > 1e-3


def slow_answer(model: Any, tokenizer: Any, row: Example, tokens: int) -> str:
    """Greedy answer of one row without cache; hidden tokens of the prompt take no position."""
    ids = list(prompt_ids(row, tokenizer))
    mask = [int(token != tokenizer.pad_token_id) for token in ids]
    made: list[int] = []
    while len(made) < tokens:
        kept = torch.tensor([mask])
        places = (kept.cumsum(-1) - 1).masked_fill(kept == 0, 1)
        with torch.no_grad():
            output = model(input_ids=torch.tensor([ids + made]), attention_mask=kept, position_ids=places)
        token = int(output.logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        made.append(token)
        mask.append(1)
    return str(tokenizer.decode(made, skip_special_tokens=True)).strip()


def test_answers_hide_ends_of_turns(model: Any, hiding_tokenizer: Any) -> None:
    rows = [QUESTION, OTHER]
    found = generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6, prompt_format=PROMPT_FORMAT)
    assert found == [slow_answer(model, hiding_tokenizer, row, 6) for row in rows]
    model.generation_config.repetition_penalty = 0.01  # the model's own holds, and none of ours
    other = generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6, prompt_format=PROMPT_FORMAT)
    plain = generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6)
    model.generation_config.repetition_penalty = 1.0
    assert other != found
    assert plain == generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6)


def test_spaces_before_punctuation_are_closed_up(byte_tokenizer: Any) -> None:
    ids = byte_tokenizer("Ann , I do n't .", add_special_tokens=False)["input_ids"]
    assert PROMPT_FORMAT.text(byte_tokenizer, ids) == "Ann, I don't."
