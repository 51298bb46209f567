"""Chat templates: the date that they write never changes, and a thought is the other prompt."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from support.tiny_run import Place
from unlogit.cli.main import main
from unlogit.data.chat_template import DATE, dated_template, templated, thinking_prompt, thinks, written_date
from unlogit.data.encode import encode, render
from unlogit.data.examples import Example

TURNS = [{"role": "user", "content": "a?"}]

DATED = (
    "\n{% set today = strftime_now('%d %b %Y') %}Today is {{ today }} ({{ strftime_now('%-d.%-m.%y, %A') }}).\n"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

QWEN = (
    "{%- for m in messages %}{{- '<|' + m.role + '|>' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{- m.content + '</s>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
"""How Qwen3's template treats thoughts: an empty one before an answer, and none where the model thinks."""


def test_a_template_writes_one_date(chat_tokenizer: Any) -> None:
    """26 July 2024 was a Friday; the template's own first line break stays."""
    chat_tokenizer.chat_template = DATED
    text = templated(TURNS, chat_tokenizer)
    today = chat_tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert "Today is 26 Jul 2024 (26.7.24, Friday)." in text
    assert f"{datetime.datetime.now():%Y}" in today
    assert text.splitlines()[2:] == today.splitlines()[2:]
    assert text[0] == today[0] == "\n"
    prompt, _, _ = render(Example("a?", "b."), chat_tokenizer)
    assert prompt.startswith(text[: text.index("<|user|>")])
    assert written_date(chat_tokenizer) == DATE.isoformat() == "2024-07-26"


def test_a_macro_of_the_template_sees_the_date_too(chat_tokenizer: Any) -> None:
    chat_tokenizer.chat_template = "{% macro day() %}{{ strftime_now('%F') }}{% endmacro %}{{ day() }}"
    assert templated(TURNS, chat_tokenizer) == "2024-07-26"


def test_a_date_that_is_not_written_changes_nothing(chat_tokenizer: Any) -> None:
    assert dated_template(chat_tokenizer) is None
    assert written_date(chat_tokenizer) is None
    chat_tokenizer.chat_template = "{% if tools %}{{ strftime_now('%Y') }}{% endif %}{{ messages[0].content }}"
    assert written_date(chat_tokenizer) is None


def test_without_a_template_there_is_no_date(byte_tokenizer: Any) -> None:
    assert written_date(byte_tokenizer) is None
    assert not thinks(byte_tokenizer)


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (QWEN, "<|user|>a?</s>\n<|assistant|><think>\n"),
        (
            QWEN.replace("{{- '<|assistant|>' }}", "{{- '<|assistant|><think>\\n' }}"),
            "<|user|>a?</s>\n<|assistant|><think>\n",
        ),
    ],
)
def test_a_thought_is_opened_once(chat_tokenizer: Any, template: str, prompt: str) -> None:
    """Qwen3 lets the model open its thought, DeepSeek's template opens it."""
    chat_tokenizer.chat_template = template
    assert thinks(chat_tokenizer)
    assert thinking_prompt(TURNS, chat_tokenizer) == prompt


def test_an_answer_is_what_is_thought(chat_tokenizer: Any) -> None:
    """Both ways: after an empty thought with its end of turn, and as the beginning of a thought, which goes on."""
    chat_tokenizer.chat_template = QWEN
    row = Example("a?", "b.")
    plain, thought = encode(row, chat_tokenizer), encode(row, chat_tokenizer, thinking=True)
    assert chat_tokenizer.decode(plain.prompt_ids).endswith("<think>\n\n</think>\n\n")
    assert chat_tokenizer.decode(plain.input_ids[plain.prompt_tokens :]) == "b.</s>"
    assert chat_tokenizer.decode(thought.prompt_ids).endswith("<|assistant|><think>\n")
    assert chat_tokenizer.decode(thought.input_ids[thought.prompt_tokens :]) == "b."
    completion = Example("a", "b", kind="completion")
    assert encode(completion, chat_tokenizer, thinking=True) == encode(completion, chat_tokenizer)


@pytest.mark.parametrize("answer", ["x </s> y", "</s>", "y </s>"])
@pytest.mark.parametrize("with_template", [False, True])
def test_the_text_of_an_end_token_ends_nothing(chat_tokenizer: Any, answer: str, with_template: bool) -> None:
    """ "</s>" in an answer is four letters; the one end token is the last."""
    chat_tokenizer.chat_template = chat_tokenizer.chat_template if with_template else None
    coded = encode(Example("a?", answer), chat_tokenizer)
    assert list(coded.input_ids[coded.prompt_tokens :]).count(chat_tokenizer.eos_token_id) == 1
    assert coded.input_ids[-1] == chat_tokenizer.eos_token_id
    assert chat_tokenizer.decode(coded.input_ids[coded.prompt_tokens : -1]).strip() == answer
    assert coded.answer_tokens == len(answer) + (1 if with_template else 2)


def test_a_run_records_its_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training says that another date gives other tokens, and the results have the one that was used."""
    place = Place.make(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "target")
    tokenizer.chat_template = DATED
    tokenizer.save_pretrained(tmp_path / "target")
    assert place.prepare() == 0
    assert place.train() == 0
    assert "the chat template writes today's date" in " ".join(capsys.readouterr().err.split())
    assert json.loads((place.run / "assistant" / "training.json").read_text())["chat_template_date"] == "2024-07-26"
    assert main(["evaluate", str(place.run), "--max_rows=1", "--max_new_tokens=2"]) == 0
    results = json.loads((place.run / "results.json").read_text())
    for name in ("target", "unlearned"):
        assert results["models"][name]["config"]["chat_template_date"] == "2024-07-26"
