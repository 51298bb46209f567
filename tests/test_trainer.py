"""Arguments of the Trainer's own: accumulated batches, activations computed again, names that it does not know."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaMLP

from support.tiny_run import tiny_tokenizer as people_tokenizer
from support.tiny_training import PEOPLE_ROWS, REFUSALS, people_options, people_target, train
from unlogit.errors import ConfigError
from unlogit.settings.options import AssistantOptions, TrainOptions


def adapter_after(folder: Path, objective: str = "uld", **arguments: Any) -> torch.Tensor:
    """The trained parameters after two passes with arguments of the Trainer's."""
    options = people_options(objective, batch_size=4, training_arguments=arguments)
    fitted = train(
        options,
        folder,
        AssistantOptions(num_layers=2, rank=4, lora_alpha=4.0),
        target=people_target(),
        rows=PEOPLE_ROWS,
        tokenizer=people_tokenizer(),
        refusals=REFUSALS,
    )
    result = fitted.trained.result()
    parts = result[0].parameters() if isinstance(result, list) else result.parameters()
    return torch.cat([p.detach().flatten() for p in parts])


@pytest.mark.parametrize("objective", ["uld", "npo_kl", "idk_ap", "offset_ga_kl"])
def test_accumulated_batches_are_one_step(objective: str, tmp_path: Path) -> None:
    """Rows are of different lengths: each batch's means count by their tokens and rows."""
    plain = adapter_after(tmp_path / "plain", objective)
    accumulated = adapter_after(tmp_path / "two", objective, gradient_accumulation_steps=2)
    torch.testing.assert_close(accumulated, plain, rtol=0, atol=1e-5)
    lines = [json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0]) for name in ("plain", "two")]
    for name in {"forget", "uniform", "retain"} & set(lines[0]):
        assert lines[1][name] == pytest.approx(lines[0][name], rel=1e-4, abs=1e-6), name


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
@pytest.mark.parametrize("objective", ["uld", "npo_kl", "offset_ga_kl"])
def test_activations_computed_again_change_nothing(objective: str, name: str, tmp_path: Path) -> None:
    plain = adapter_after(tmp_path / "plain", objective)
    again = adapter_after(tmp_path / "again", objective, **{name: True})
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-5)


def test_activations_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block twice a step; once when the trained assistant is scored."""
    calls: list[bool] = []
    plain = LlamaMLP.forward

    def watched(self: Any, x: torch.Tensor) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return plain(self, x)

    monkeypatch.setattr(LlamaMLP, "forward", watched)
    options = people_options("uld", training_arguments={"activation_checkpointing": True})
    fitted = train(
        options,
        tmp_path / "a",
        AssistantOptions(num_layers=2, rank=4),
        target=people_target(),
        rows=PEOPLE_ROWS,
        tokenizer=people_tokenizer(),
    )
    assert len(calls) == 2 * 2 * fitted.summary["steps"]
    (assistant,) = fitted.trained.result()
    assert not any(module.training for module in assistant.view.modules() if hasattr(module, "gradient_checkpointing"))


def test_unknown_arguments_of_the_trainer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'gradient_checkpointing'"):
        train(TrainOptions(training_arguments={"gradient_checkpoint": True}), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"training_arguments\.max_steps is given"):
        train(TrainOptions(training_arguments={"max_steps": 3}), tmp_path / "a")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor is given"),
        ({"eval_strategy": "steps"}, "eval_strategy is given"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
        ({"learning_rate": "abc"}, "learning_rate is 'abc'"),
        ({"save_strategy": "sometimes"}, "are refused"),
    ]
    for arguments, message in refused:
        with pytest.raises(ConfigError, match=message):
            train(TrainOptions(training_arguments=arguments), tmp_path / "a")
    assert not (tmp_path / "a").exists()
