"""Models with learned positions: rows that they cannot read are named before training; answers stop in time."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from support.tiny_run import Place, tiny_config, tiny_tokenizer
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.model.positions import position_limit
from unlogit.settings.options import FinetuneOptions
from unlogit.training.trainer import within_positions


def gpt2(positions: int) -> Any:
    torch.manual_seed(0)
    shape = {"vocab_size": 400, "n_embd": 32, "n_layer": 4, "n_head": 4, "bos_token_id": None, "eos_token_id": 1}
    return GPT2LMHeadModel(GPT2Config(n_positions=positions, initializer_range=0.4, **shape))


def test_which_models_have_a_limit() -> None:
    opt = OPTConfig(vocab_size=64, hidden_size=32, ffn_dim=32, num_hidden_layers=1, num_attention_heads=2)
    opt.max_position_embeddings = 48
    assert position_limit(OPTForCausalLM(opt)) == 48
    assert position_limit(gpt2(40)) == 40
    assert position_limit(LlamaForCausalLM(tiny_config())) is None
    assert within_positions(FinetuneOptions(), gpt2(40)).max_tokens == 40
    assert within_positions(FinetuneOptions(max_tokens=30), gpt2(40)).max_tokens == 30


def test_answers_end_where_positions_do() -> None:
    """Its random answers go on for ever; the second question is shorter and in the same batch."""
    model, tokenizer = gpt2(40), tiny_tokenizer()
    rows = [Example("a b c d e f g h", "."), Example("a b", ".")]
    answers = generate_answers(model, tokenizer, rows, batch_size=2, max_new_tokens=60)
    assert all(answers)
    with pytest.raises(DataError, match="the model 40 positions"):
        generate_answers(model, tokenizer, [Example("a b c d " * 9, ".")], batch_size=2, max_new_tokens=60)


def gpt2_place(folder: Path, positions: int) -> Place:
    place = Place.make(folder)
    gpt2(positions).save_pretrained(folder / "target")
    return place


def test_a_long_row_is_named_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = gpt2_place(tmp_path, 24)
    assert place.prepare() == 0
    assert place.train() == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "evaluation/forget.jsonl has" in error
    assert "the target 24 positions" in error
    assert not (place.run / "assistant.checkpoints").exists()


def test_gpt2_trains_and_is_scored_within_its_positions(tmp_path: Path) -> None:
    """max_tokens is 512; the rows have less than the 128 positions, and answers may be 200 tokens long."""
    place = gpt2_place(tmp_path, 128)
    assert place.prepare() == 0
    assert place.train() == 0
    assert main(["evaluate", str(place.run), "--max_rows=2"]) == 0


def test_a_long_question_is_refused_when_rows_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    rows = (tmp_path / "forget.jsonl").read_text().splitlines()
    rows[2] = rows[2].replace('"question": "', '"question": "' + "why " * 600, 1)
    (tmp_path / "forget.jsonl").write_text("\n".join(rows))
    assert place.prepare() == 2
    error = capsys.readouterr().err
    assert "forget.jsonl line 3 has" in error
    assert "why why" not in error
    assert place.prepare("--max_tokens=4000") == 0
