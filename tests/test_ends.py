"""``generate`` on what is saved stops where evaluation does: at the chat template's end of turn."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from support.tiny_run import Place
from unlogit.model.ends import end_ids

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def closing_with_end_of_turn(folder: Path) -> int:
    """Give the target a template that ends turns with a token that its generation settings don't know."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("<|end|>", special=True)])
    tokenizer.chat_template = TEMPLATE.replace("</s>", "<|end|>")
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    end: int = tokenizer.convert_tokens_to_ids("<|end|>")
    return end


def test_what_is_saved_stops_at_the_end_of_turn(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    target = tmp_path / "target"
    end = closing_with_end_of_turn(target)
    assert GenerationConfig.from_pretrained(target).eos_token_id == 1
    assert place.prepare() == 0
    assert place.train() == 0
    assert GenerationConfig.from_pretrained(place.run / "unlearned").eos_token_id == [1, end]
    model = AutoModelForCausalLM.from_pretrained(place.run / "unlearned")
    assert model.generation_config.eos_token_id == [1, end]
    assert end_ids(model.target, AutoTokenizer.from_pretrained(target)) == [1, end]
    assert model.target.generation_config.eos_token_id == 1
