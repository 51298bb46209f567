"""How far an assistant is from uniform: measured, warned about, stopped by; and whether it has learnt."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import tiny_target
from support.tiny_training import OPTIONS, ROWS, train
from unlogit.errors import ConfigError
from unlogit.model.assistant import new_assistant
from unlogit.settings.options import AssistantOptions, TrainOptions
from unlogit.training import uniformity
from unlogit.training.uniformity import (
    StopWhenUniform,
    chance_nats,
    held_out_kl,
    learning_warning,
    uniform_warning,
)

HELD_OUT = {name: ROWS[name] for name in ("holdout_retain", "holdout_neutral")}


def test_it_is_zero_for_a_uniform_assistant_and_warns_for_one_that_is_not() -> None:
    assistant = new_assistant(tiny_target(), AssistantOptions(2, "lora", 4), "tiny")
    with torch.no_grad():
        assistant.gain.zero_()
    values = held_out_kl(assistant, tiny_tokenizer(), HELD_OUT, 64)
    assert values == pytest.approx({"holdout_retain": 0.0, "holdout_neutral": 0.0}, abs=1e-5)
    assert uniform_warning(values) is None
    with torch.no_grad():
        assistant.gain.fill_(1.0)
    values = held_out_kl(assistant, tiny_tokenizer(), HELD_OUT, 64)
    assert min(values.values()) > 1
    assert "retain rows and" in str(uniform_warning(values))
    assert held_out_kl(assistant, tiny_tokenizer(), {"holdout_retain": []}, 64) == {}


def test_an_assistant_that_has_hardly_learnt_is_told_of(tmp_path: Path) -> None:
    """Half of log V is the line, below which it has learnt; 2 steps of an untrained one are no training."""
    assert learning_warning(4.1, 8.3) is None
    assert "4.2 nats a token (8.3 before training, expected at most 4.2)" in str(learning_warning(4.16, 8.3))
    assert learning_warning(None, 8.3) is None  # no step was logged
    options = TrainOptions(batch_size=2, epochs=1, logging_steps=1, dtype="float32")
    fitted = train(options, tmp_path / "assistant", AssistantOptions(2, "lora", 4))
    chance, forget = chance_nats(fitted.trained.result()[0]), fitted.summary["terms"]["forget"]
    assert chance == pytest.approx(math.log(tiny_target().config.vocab_size))
    assert forget > chance / 2
    assert learning_warning(forget, chance)


def test_few_steps_are_judged_too(tmp_path: Path) -> None:
    """Two steps, where a line is logged every ten: the last step is logged all the same."""
    options = TrainOptions(batch_size=2, epochs=1, logging_steps=10, dtype="float32")
    fitted = train(options, tmp_path / "assistant", AssistantOptions(2, "lora", 4))
    assert fitted.summary["steps"] < 10
    assert learning_warning(fitted.summary["terms"]["forget"], chance_nats(fitted.trained.result()[0]))
    assert fitted.summary["ceiling"] is None  # it had no goal


@pytest.mark.parametrize(("limit", "stops"), [(50.0, True), (1e-9, False)])
def test_it_stops_once_it_has_learnt_and_is_uniform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, stops: bool
) -> None:
    """Anything is below 50 nats: it stops at the first pass whose forget term is below half of log V, not before;
    at the start it is uniform and has learnt nothing. Nothing is below a billionth: it makes all 40 passes."""
    said: list[str] = []
    monkeypatch.setattr(uniformity.log, "info", said.append)

    def callbacks(trained: Any) -> list[Any]:
        return [StopWhenUniform(trained.assistant, tiny_tokenizer(), HELD_OUT, replace(OPTIONS, stop_uniform_kl=limit))]

    options = TrainOptions(**{**vars(OPTIONS), "logging_steps": 1})
    fitted = train(options, tmp_path / "a", AssistantOptions(rank=4), callbacks=callbacks)
    terms = [json.loads(line)["forget"] for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    half = math.log(tiny_target().config.vocab_size) / 2
    assert (fitted.summary["steps"] == 40) != stops
    assert fitted.summary["ceiling"] == (None if stops else "steps")
    assert (tmp_path / "a.checkpoints").exists() != stops
    if stops:
        assert terms[-1] < half <= terms[-2]
        assert "nats on neutral rows held out" in said[-1]


def test_stopping_needs_held_out_rows() -> None:
    assistant = new_assistant(tiny_target(), AssistantOptions(2, "lora", 4), "tiny")
    with pytest.raises(ConfigError, match="no retain rows are held out"):
        StopWhenUniform(assistant, tiny_tokenizer(), {"holdout_retain": []}, OPTIONS)
