"""Fine-tuning: the loss falls where it should, on the tokens that it should."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import tiny_target
from unlogit.data.batches import pad_rows
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.errors import ConfigError
from unlogit.runs.finetune import filled, finetune
from unlogit.settings.options import FinetuneOptions
from unlogit.training.trainer import (
    LogLines,
    _step_of,
    check_checkpoints,
    last_checkpoint,
    resolved_dtype,
    seconds_before,
)

ROWS = [Example("who wrote the red book ?", "city five"), Example("who wrote the book ?", "two one two")]


@pytest.mark.parametrize("loss_on", ["answer", "all"])
def test_loss_is_the_cross_entropy_of_answer_tokens_only(loss_on: Any, tmp_path: Path) -> None:
    """Against the plain way: all logits, shifted labels, ignored positions left out; or all but the first token."""
    model = tiny_target()
    options = FinetuneOptions(dtype="float32", batch_size=2, epochs=1, logging_steps=1, loss_on=loss_on)
    encoded = [encode(row, tiny_tokenizer()) for row in ROWS]
    batch = pad_rows(encoded)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    if loss_on == "answer":
        for row, row_labels in zip(encoded, labels, strict=True):
            row_labels[: row.prompt_tokens] = -100
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        expected = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1))
    summary = finetune(model, tiny_tokenizer(), ROWS, tmp_path / "model", options, bar=False)
    assert summary["steps"] == 1
    assert summary["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_it_learns_and_saves(tmp_path: Path) -> None:
    options = FinetuneOptions(learning_rate=1e-2, epochs=30, batch_size=2, dtype="float32", logging_steps=5)
    model = tiny_target().train()
    summary = finetune(model, tiny_tokenizer(), ROWS, tmp_path / "model", options, bar=False)
    assert summary["steps"] == 30
    assert summary["loss"] < 0.1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    assert (tmp_path / "model" / "finetune.json").exists()


def test_few_rows_get_steps_not_passes() -> None:
    """168 rows in batches of 32 are 6 steps, 34 passes for 200; 64,000 rows have five passes. What was given stays."""
    small = filled(FinetuneOptions(), 168, 10**8)
    assert (small.learning_rate, small.epochs) == (1e-4, 34.0)
    large = filled(FinetuneOptions(), 64_000, 7 * 10**9)
    assert (large.learning_rate, large.epochs) == (1e-5, 5.0)
    assert filled(FinetuneOptions(learning_rate=1.0, epochs=2), 1, 1) == FinetuneOptions(learning_rate=1.0, epochs=2)


def test_a_loss_that_does_not_fall_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for rate, is_said in ((1e-9, True), (1e-2, False)):
        caplog.clear()
        options = FinetuneOptions(learning_rate=rate, epochs=20, batch_size=2, dtype="float32", logging_steps=2)
        finetune(tiny_target().train(), tiny_tokenizer(), ROWS, tmp_path / str(rate), options, bar=False)
        assert ("the loss did not fall" in caplog.text) == is_said


def test_a_checkpoint_cut_off_while_written_is_not_taken(tmp_path: Path) -> None:
    for step, whole in ((5, True), (10, True), (15, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert last_checkpoint(tmp_path / "nothing") is None


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    """As after a cut: a checkpoint and the settings it was begun with; then another learning rate."""
    work = tmp_path / "model.checkpoints"
    (work / "checkpoint-1").mkdir(parents=True)
    (work / "checkpoint-1" / "trainer_state.json").write_text('{"global_step": 1}')
    begun = FinetuneOptions(dtype="float32", learning_rate=1e-5, epochs=5.0)
    (work / "settings.json").write_text(json.dumps({"model": "a", "rows": 2, **asdict(begun)}))
    changed, model = replace(begun, learning_rate=1.0), tiny_target()
    with pytest.raises(ConfigError, match=r"learning_rate 1e-05, now 1\.0"):
        finetune(
            tiny_target(), tiny_tokenizer(), ROWS, tmp_path / "model", changed, resume=True, settings={"model": "a"}
        )
    with pytest.raises(ConfigError, match="model a, now b"):
        finetune(model, tiny_tokenizer(), ROWS, tmp_path / "model", begun, resume=True, settings={"model": "b"})


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    """Rows of different lengths: each batch's mean counts by its tokens."""
    found = []
    for pieces in (1, 2):
        arguments = {"gradient_accumulation_steps": pieces}
        options = FinetuneOptions(
            learning_rate=1e-3, epochs=3, batch_size=2, dtype="float32", training_arguments=arguments
        )
        model = tiny_target()
        finetune(model, tiny_tokenizer(), ROWS, tmp_path / str(pieces), options, bar=False)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


def test_the_last_step_of_a_pass_may_be_short(tmp_path: Path) -> None:
    """But not in accumulated batches, which would weigh its rows otherwise: 6 rows are steps of 4 and 2."""
    three = [*ROWS, *ROWS, *ROWS]
    options = FinetuneOptions(epochs=2, batch_size=4, dtype="float32")
    assert finetune(tiny_target(), tiny_tokenizer(), three, tmp_path / "a", options, bar=False)["steps"] == 4
    accumulated = replace(options, training_arguments={"gradient_accumulation_steps": 2})
    with pytest.raises(ConfigError, match=r"a step has 2 or 4 rows.*for 2 processes or accumulated batches"):
        finetune(tiny_target(), tiny_tokenizer(), three, tmp_path / "b", accumulated, bar=False)


def test_what_a_cut_leaves_is_read(tmp_path: Path) -> None:
    """Seconds and compute type of the training that was cut off; a half-written log line counts as of no step, and a
    half-written file is no one's."""
    (tmp_path / "seconds.json").write_text('{"step": 3, "seconds": 12.5}')
    (tmp_path / "dtype").write_text("bfloat16")
    assert seconds_before(tmp_path) == 12.5
    cpu = torch.device("cpu")
    assert resolved_dtype("float32", cpu, tmp_path, resuming=True) == torch.bfloat16
    assert resolved_dtype("float32", cpu, tmp_path, resuming=False) == torch.float32
    assert (tmp_path / "dtype").read_text() == "float32"
    assert _step_of('{"step": 7, "lo') == float("inf")
    assert _step_of('{"step": 7}') == 7
    (tmp_path / ".seconds.json.a1b2").write_text('{"st')
    check_checkpoints(tmp_path)
    (tmp_path / ".mine").write_text("x")
    with pytest.raises(ConfigError, match=r"holds \.mine, which is none of a training's files"):
        check_checkpoints(tmp_path)


def test_cut_off_and_resumed_ends_with_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off after step 5 of 8, the second and fourth saved; resumed, the weights are the whole run's, bit for bit."""
    rows = [Example(f"who wrote book {word} ?", f"city {word} two") for word in ("one", "two", "five", "red")]
    options = FinetuneOptions(learning_rate=1e-2, epochs=4, batch_size=2, dtype="float32", save_steps=2)
    whole = tiny_target().train()
    finetune(whole, tiny_tokenizer(), rows, tmp_path / "whole", options, bar=False)

    def cut(self: LogLines, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LogLines, "on_step_end", cut)
        with pytest.raises(KeyboardInterrupt):
            finetune(tiny_target().train(), tiny_tokenizer(), rows, tmp_path / "cut", options, bar=False)
    assert not (tmp_path / "cut").exists()
    resumed = tiny_target().train()
    steps: list[int] = []
    monkeypatch.setattr(
        LogLines, "on_step_end", lambda self, args, state, control, **_: steps.append(state.global_step)
    )
    finetune(resumed, tiny_tokenizer(), rows, tmp_path / "cut", options, resume=True, bar=False)
    assert steps == [5, 6, 7, 8]  # from the beginning it would end with the same weights, too
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
