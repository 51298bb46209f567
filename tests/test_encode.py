"""Encoding: the boundary of prompt and answer, the end of the answer, and the forms without and with a template.

With the byte tokenizer every character is a token, so that positions can be counted by hand.
"""

from dataclasses import replace
from typing import Any

import pytest

from unlogit.data.encode import encode, encode_answers, render
from unlogit.data.examples import Example, Message
from unlogit.errors import DataError, ModelError


def text_of(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return tokenizer.decode(ids)


def test_plain_form_counts_by_hand(byte_tokenizer: Any) -> None:
    """<s> + "Question: a?" (12) + newline (1) + "Answer:" (7) = 21 prompt tokens; " b." + </s> = 4 answer tokens."""
    coded = encode(Example("a?", "b."), byte_tokenizer)
    assert text_of(byte_tokenizer, coded.prompt_ids) == "<s>Question: a?\nAnswer:"
    assert (coded.prompt_tokens, coded.answer_tokens) == (21, 4)
    assert coded.input_ids[-1] == byte_tokenizer.eos_token_id


def test_token_across_the_boundary_belongs_to_the_answer(word_tokenizer: Any) -> None:
    """Raw prompt "ab" and completion "cd ef" are the tokens "abcd" and " ef": the first one holds answer text."""
    tokenizer = word_tokenizer("abcd ef x")
    coded = encode(Example("x ab", "cd ef", kind="completion"), tokenizer)
    assert coded.prompt_tokens == 1
    assert tokenizer.convert_ids_to_tokens(list(coded.input_ids)) == ["x", " abcd", " ef", "</s>"]


def test_first_token_is_never_predicted(word_tokenizer: Any) -> None:
    """Without <s> in front, a completion to no prompt has its first token as prompt: nothing stands before it."""
    coded = encode(Example("", "a b", kind="completion"), word_tokenizer("a b"))
    assert (coded.prompt_tokens, coded.answer_tokens) == (1, 2)


def content_text(coded: Any, tokenizer: Any) -> str:
    return side_text(coded, tokenizer, "forget") if coded.token_sides else answer_text(coded, tokenizer)


def answer_text(coded: Any, tokenizer: Any) -> str:
    answer = coded.input_ids[coded.prompt_tokens :]
    return text_of(tokenizer, tuple(token for token in answer if token != tokenizer.eos_token_id))


def side_text(coded: Any, tokenizer: Any, side: str) -> str:
    pairs = zip(coded.input_ids, coded.token_sides, strict=True)
    return text_of(tokenizer, tuple(token for token, name in pairs if name == side))


@pytest.mark.parametrize("answer", ["Ann is a joiner.", "  Ann is a joiner."])
def test_tokens_of_content_words(byte_tokenizer: Any, answer: str) -> None:
    """In a word all of its tokens; neither the question's, nor the full stop or what ends the answer."""
    example, common = Example("Who is Ann?", answer), frozenset({"a"})
    coded = encode(example, byte_tokenizer, common=common)
    assert content_text(coded, byte_tokenizer) == "joiner"
    assert side_text(coded, byte_tokenizer, "uniform") == "Annis"
    assert replace(coded, token_sides=None) == encode(example, byte_tokenizer)
    short = encode(example, byte_tokenizer, len(coded.input_ids) - 4, common)
    assert content_text(short, byte_tokenizer) == "join"  # without "er", "." and </s>


def test_without_content_words_left_the_rest_is_remembered(byte_tokenizer: Any) -> None:
    example, common = Example("Who?", "He was a joiner."), frozenset({"he", "was", "a"})
    full = encode(example, byte_tokenizer)
    short = encode(example, byte_tokenizer, full.prompt_tokens + 7, common)
    assert content_text(short, byte_tokenizer).strip() == "He was"


def test_a_template_has_no_content_words(chat_tokenizer: Any) -> None:
    coded = encode(Example("Who is Ann?", "Ann is a joiner."), chat_tokenizer, common=frozenset({"a"}))
    assert content_text(coded, chat_tokenizer).strip() == "joiner"
    blank = encode(Example("Who?", "He was   "), chat_tokenizer, common=frozenset({"he", "was"}))
    assert content_text(blank, chat_tokenizer).strip() == "He was"


def test_history_in_the_plain_form(byte_tokenizer: Any) -> None:
    history = (Message("system", "Be brief."), Message("user", "hi"), Message("assistant", "yo"))
    coded = encode(Example("a?", "b.", kind="messages", history=history), byte_tokenizer)
    expected = "<s>Be brief.\nQuestion: hi\nAnswer: yo\nQuestion: a?\nAnswer:"
    assert text_of(byte_tokenizer, coded.prompt_ids) == expected


def test_text_has_no_end_of_text(byte_tokenizer: Any) -> None:
    """A piece of running text goes on; all its tokens but <s> carry loss."""
    coded = encode(Example("", "abc", kind="text"), byte_tokenizer)
    assert text_of(byte_tokenizer, coded.input_ids) == "<s>abc"
    assert (coded.prompt_tokens, coded.answer_tokens) == (1, 3)


def test_text_loses_the_end_that_the_tokenizer_adds(word_tokenizer: Any) -> None:
    from tokenizers import processors

    tokenizer = word_tokenizer("a b")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    names = {kind: encode(Example("", "a b", kind=kind), tokenizer).input_ids for kind in ("text", "completion")}
    assert tokenizer.convert_ids_to_tokens(list(names["text"])) == ["a", " b"]
    assert tokenizer.convert_ids_to_tokens(list(names["completion"])) == ["a", " b", "</s>"]


def test_chat_template_ends_at_its_end_of_turn(chat_tokenizer: Any) -> None:
    """The newline after </s> is the template's, not the answer's; no second <s> is put in front of the text."""
    coded = encode(Example("a?", "b.", history=(Message("user", "hi"), Message("assistant", "yo"))), chat_tokenizer)
    assert (
        text_of(chat_tokenizer, coded.prompt_ids)
        == "<|user|>hi</s>\n<|assistant|>yo</s>\n<|user|>a?</s>\n<|assistant|>"
    )
    assert text_of(chat_tokenizer, coded.input_ids[coded.prompt_tokens :]) == "b.</s>"


def test_template_that_rewrites_the_prompt(chat_tokenizer: Any) -> None:
    """A generation prompt that the finished turn does not begin with is none of an answer's."""
    turns = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}"
    chat_tokenizer.chat_template = turns + "{% if add_generation_prompt %}(go){% endif %}"
    prompt, answer, special = render(Example("b?", "b"), chat_tokenizer)
    assert (prompt, answer, special) == ("[user: b?][assistant: ", "b]", True)


def test_template_that_opens_every_answer_alike(chat_tokenizer: Any) -> None:
    """Qwen3 puts an empty thought before the answer, not into the prompt: no part of the answer."""
    chat_tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}\n"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    for short in ("b", "in", "s", "user"):  # found in what the template writes, too
        prompt, answer, _ = render(Example("a", short), chat_tokenizer)
        assert (prompt, answer) == ("user:a\nassistant:<think></think>", f"{short}\n")


def test_template_that_hides_the_answer_is_refused(chat_tokenizer: Any) -> None:
    chat_tokenizer.chat_template = "{% if add_generation_prompt %}go{% else %}nothing{% endif %}"
    with pytest.raises(ModelError, match="chat template"):
        encode(Example("a?", "b"), chat_tokenizer)


def test_template_that_refuses_a_role(chat_tokenizer: Any) -> None:
    chat_tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}x"
    )
    row = Example("a?", "b", history=(Message("system", "Be brief."),))
    with pytest.raises(DataError, match=r"system, user, assistant \(no system turns\)"):
        encode(row, chat_tokenizer)


def test_end_of_turn_without_a_role_of_its_own(chat_tokenizer: Any) -> None:
    """Phi-3's way: the turn ends with <|end|>, special but neither eos nor named; generation stops there."""
    chat_tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% else %}</s>{% endif %}"
    )
    from tokenizers import AddedToken

    chat_tokenizer.add_tokens([AddedToken("<|end|>", special=True)])
    coded = encode(Example("a?", "b."), chat_tokenizer)
    assert text_of(chat_tokenizer, coded.input_ids[coded.prompt_tokens :]) == "b.<|end|>"


def test_unknown_word_does_not_end_the_answer(word_tokenizer: Any) -> None:
    """<unk> is a special token, but no end: the answer "a ? b" keeps what follows its unknown word."""
    tokenizer = word_tokenizer("a b Question: Answer:")
    coded = encode(Example("a", "a zzz b"), tokenizer)
    names = tokenizer.convert_ids_to_tokens(list(coded.input_ids[coded.prompt_tokens :]))
    assert names == [" a", "<unk>", " b", "</s>"]


def test_unknown_word_that_is_end_of_text_ends_the_answer(word_tokenizer: Any) -> None:
    """GPT-2 uses one token for both: it must stay an end."""
    tokenizer = word_tokenizer("a b Question: Answer:", unknown="</s>")
    coded = encode(Example("a", "a zzz b"), tokenizer)
    names = tokenizer.convert_ids_to_tokens(list(coded.input_ids[coded.prompt_tokens :]))
    assert names == [" a", "</s>"]


def test_answers_in_turn_share_the_prompt(byte_tokenizer: Any) -> None:
    first, second = encode_answers(Example("a?", "b."), byte_tokenizer, ("cc.", "d"))
    assert first.prompt_ids == second.prompt_ids
    assert text_of(byte_tokenizer, first.input_ids[first.prompt_tokens :]) == " cc.</s>"
    assert second.answer_tokens == 3


def test_long_answer_loses_its_end(byte_tokenizer: Any) -> None:
    coded = encode(Example("a?", "bcdef"), byte_tokenizer, max_tokens=24)
    assert text_of(byte_tokenizer, coded.input_ids[coded.prompt_tokens :]) == " bc"


def test_no_room_for_the_answer(byte_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"21 prompt tokens .* 21 tokens of max_tokens"):
        encode(Example("a?", "b."), byte_tokenizer, max_tokens=21)


def test_text_of_one_token_without_a_start_token(word_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"no answer token.*longer answer"):
        encode(Example("", "a", kind="text"), word_tokenizer("a"))


def test_tokenizer_without_end_of_text(endless_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="end-of-text"):
        encode(Example("a?", "b."), endless_tokenizer)


def test_slow_tokenizer() -> None:
    class Slow:
        eos_token_id, is_fast, name_or_path = 1, False, "slow"

    with pytest.raises(ModelError, match=r"'slow' .*offsets"):
        encode(Example("a?", "b."), Slow())


def test_row_round_trip() -> None:
    row = Example("q", "a", "messages", (Message("user", "u"),), ("p", "r"), ("s",), ("w", "x"))
    assert Example.from_row(row.to_row()) == row
    assert Example("q", "a").to_row() == {"question": "q", "answer": "a"}
