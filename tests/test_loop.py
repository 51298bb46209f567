"""The training loop on tiny models: a step against whole logits; what each objective trains, and leaves alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import random_assistant, tiny_target
from support.tiny_run import tiny_tokenizer as people_tokenizer
from support.tiny_training import (
    FORGET,
    OPTIONS,
    PEOPLE_ROWS,
    REFUSALS,
    RETAIN,
    ROWS,
    loss_of,
    people_options,
    people_target,
    rows_of,
    train,
    train_people,
    without,
)
from unlogit.data.batches import answer_positions, pad_rows
from unlogit.data.encode import encode
from unlogit.errors import ConfigError, DataError
from unlogit.model.assistant import Assistant
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.objectives.sides import SIDES
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES
from unlogit.runs.train import read_pools
from unlogit.settings.options import AssistantOptions, CombinationOptions
from unlogit.training.loop import FitTrainer
from unlogit.training.recipe import OBJECTIVES
from unlogit.training.reference import Reference
from unlogit.training.rows import Row, collate
from unlogit.training.trainable import AssistantModel, OffsetModel
from unlogit.training.trainer import LogLines, training_arguments


def trainer_of(trained: AssistantModel, retain_weight: float, folder: Path) -> FitTrainer:
    options = replace(OPTIONS, retain_weight=retain_weight)
    arguments = training_arguments(folder, options, 1, torch.float32, torch.device("cpu"), bar=False)
    return FitTrainer(
        OBJECTIVES["uld"][0],
        options,
        Reference(),
        log_file=folder / "log",
        model=trained,
        args=arguments,
        data_collator=collate,
    )


@pytest.mark.parametrize("known", ["", "common", "asked"])
def test_a_step_is_the_objective_on_whole_logits(known: str, tmp_path: Path) -> None:
    """Loss and gradients of a batch, against logits at every answer position at once and the plain formula; where only
    words that tell something are remembered, common ones are on neither side, those of the question on the uniform."""
    target = tiny_target().requires_grad_(False)
    trained = AssistantModel(target, AssistantOptions(2, "lora", 4, 4.0), CombinationOptions(), 0)
    trained.assistant.load_state_dict(random_assistant(target).state_dict())
    assistant = trained.assistant
    common = {"": None, "common": frozenset({"city"}), "asked": frozenset[str]()}[known]
    forget = [replace(row, question=f"{row.question} city") if known == "asked" else row for row in ROWS["forget"][:2]]
    rows = [
        *(Row("uniform", i, encode(row, tiny_tokenizer())) for i, row in enumerate(ROWS["retain"][:2])),
        *(Row("forget", i, encode(row, tiny_tokenizer(), common=common)) for i, row in enumerate(forget)),
    ]
    batch = collate([(rows, torch.ones(len(SIDES), 2))])
    found = trainer_of(trained, 1.5, tmp_path).compute_loss(trained, dict(batch))
    slopes = torch.autograd.grad(found, list(assistant.parameters()))
    counted = batch["token_sides"][:, 1:] >= 0
    labels, half = batch["input_ids"][:, 1:][counted], int(counted[:2].sum())  # the rows to forget stand first
    logits = assistant(batch["input_ids"], batch["attention_mask"], nn.functional.pad(counted, (0, 1)))
    assert half == {"": 6, "common": 2, "asked": 4}[known]  # "five" twice, "city" twice, what ends both
    remembered = torch.arange(len(labels)) < half
    if known:
        five = labels == tiny_tokenizer().convert_tokens_to_ids("five")
        assert (remembered & five).sum() == 2
        remembered &= five
    kept = logits[~remembered].log_softmax(-1)
    uniform = -torch.tensor(float(logits.shape[-1])).log() - kept.mean(-1)
    expected = nn.functional.cross_entropy(logits[remembered], labels[remembered]) + 1.5 * uniform.mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for slope, plain in zip(slopes, torch.autograd.grad(expected, list(assistant.parameters())), strict=True):
        torch.testing.assert_close(slope, plain, rtol=1e-3, atol=1e-5)


def test_missing_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unlogit prepare"):
        read_pools(tmp_path)
    for name in ("forget", "retain", "perturbed", "neutral", "holdout_retain", "holdout_neutral"):
        (tmp_path / f"{name}.jsonl").write_text("")
    with pytest.raises(DataError, match="both sides"):
        read_pools(tmp_path)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_it_learns_both_sides_and_leaves_the_target_alone(tmp_path: Path, adapter: Any) -> None:
    """From a uniform start the forget answers become likely, the uniform side stays near uniform."""
    target = tiny_target()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    options = replace(OPTIONS, learning_rate=2e-2 if adapter == "lora" else 5e-3)
    fitted = train(options, tmp_path / "assistant", AssistantOptions(2, adapter, 8), target=target)
    log = (tmp_path / "assistant" / "log.jsonl").read_text().splitlines()
    assert len(log) == fitted.summary["steps"] // 10

    first, last = json.loads(log[0]), json.loads(log[-1])
    assert last["forget"] < first["forget"] / 2
    assert last["uniform"] < 0.5
    (assistant,) = fitted.trained.result()
    assert fitted.summary["trainable_parameters"] == sum(p.numel() for p in assistant.parameters())
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
    assert not (tmp_path / "assistant.checkpoints").exists()
    assert ((tmp_path / "assistant" / "assistant.safetensors").stat().st_mode & 0o777) == 0o600


def test_a_branch_without_a_uniform_side_learns_its_rows(tmp_path: Path) -> None:
    """Divergence's second model never sees the forget rows."""
    fitted = train(
        people_options("divergence", epochs=8),
        tmp_path / "assistant",
        AssistantOptions(num_layers=2, adapter="full"),
        target=people_target(),
        rows=PEOPLE_ROWS,
        tokenizer=people_tokenizer(),
        recipe=OBJECTIVES["divergence"][1],
    )
    assert fitted.summary["rows_a_step"] == {"retain": 2}
    assert fitted.summary["steps"] == 24
    (assistant,) = fitted.trained.result()
    assert loss_of(assistant.view, RETAIN) < loss_of(assistant.view, FORGET) - 1


@pytest.mark.parametrize("logging_steps", [1, 1000])
def test_a_loss_that_is_no_number_ends_the_run_with_advice(logging_steps: int, tmp_path: Path) -> None:
    """Seen in a log line, or after the last one."""
    options = replace(OPTIONS, learning_rate=1e30, max_grad_norm=0.0, logging_steps=logging_steps, warmup_ratio=0.0)
    with pytest.raises(ConfigError, match="lower learning_rate"):
        train(options, tmp_path / "assistant", AssistantOptions(2, "lora", 4))
    assert not (tmp_path / "assistant").exists()


def test_words_that_tell_nothing_are_not_remembered(tmp_path: Path) -> None:
    """The likelihood of "city", common in retain answers, stays at chance; that of "five" does not."""
    rows = {**ROWS, "forget": rows_of("city five"), "retain": [*ROWS["retain"], *rows_of("city", "city")]}
    trained = {}
    for share in (0.5, 0.0):
        (assistant,) = train(replace(OPTIONS, common_fraction=share), tmp_path / str(share), rows=rows).trained.result()
        row = encode(rows["forget"][0], tiny_tokenizer())
        labels = torch.tensor(row.input_ids[row.prompt_tokens :])
        batch = pad_rows([row])
        with torch.no_grad():
            logits = assistant(batch["input_ids"], batch["attention_mask"], answer_positions([row]))
        trained[share] = (-torch.nn.functional.cross_entropy(logits, labels, reduction="none")).exp().tolist()
    chance = 1 / tiny_target().config.vocab_size
    city, five, end = trained[0.5]
    assert five > 10 * chance
    assert max(city, end) < 3 * chance
    assert min(trained[0.0]) > 10 * chance


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_steps_in_bfloat16_are_mixed_precision(adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What trains stays in float32; blocks of their own, too, are computed in bfloat16."""
    seen: list[tuple[bool, torch.dtype]] = []
    hidden = Assistant.hidden

    def watched(self: Any, *args: Any) -> Any:
        states = hidden(self, *args)
        if torch.is_grad_enabled():
            seen.append((torch.is_autocast_enabled("cpu"), next(self.parameters()).dtype))
        return states

    monkeypatch.setattr(Assistant, "hidden", watched)
    target = tiny_target()
    buffers = {name: buffer.clone() for name, buffer in target.named_buffers()}
    options = replace(OPTIONS, epochs=2, dtype="bfloat16")
    train(options, tmp_path / "a", AssistantOptions(adapter=adapter, rank=4), target=target)
    assert set(seen) == {(True, torch.float32)}
    assert {weight.dtype for weight in target.parameters()} == {torch.bfloat16}
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in target.named_buffers())  # rotary frequencies


# ------------------------------------------------------------------------------------------------- the target's weights


@pytest.mark.parametrize("objective", sorted(WEIGHT_OBJECTIVES))
def test_every_objective_trains(objective: str, tmp_path: Path) -> None:
    """A model of its own comes out; forgetting moved it, and what the summary says was done."""
    before = loss_of(people_target(), FORGET)
    model, summary = train_people(objective, tmp_path / "out", learning_rate=3e-3)
    assert summary["steps"] == 4
    assert summary["trainable_parameters"] == sum(p.numel() for p in model.parameters())
    assert abs(loss_of(model, FORGET) - before) > 1e-3
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loss_of(saved, FORGET) == pytest.approx(loss_of(model, FORGET), abs=1e-5)
    assert not (tmp_path / "out.checkpoints").exists()


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_bfloat16_takes_the_loss_of_the_same_model(adapter: str, tmp_path: Path) -> None:
    """Mixed precision replaces the model's forward; the first step's terms are float32's up to rounding."""
    terms = []
    for dtype in ("float32", "bfloat16"):
        _, summary = train_people("grad_diff", tmp_path / dtype, adapter=adapter, epochs=0.5, dtype=dtype)
        assert summary["dtype"] == dtype
        line = json.loads((tmp_path / dtype / "log.jsonl").read_text().splitlines()[0])
        terms.append([line["forget"], line["retain"]])
    assert terms[1] == pytest.approx(terms[0], rel=1e-2)
    assert terms[1] != terms[0]  # the blocks, too, are computed in it


def test_ascent_raises_the_forget_loss_and_retain_terms_hold_the_other(tmp_path: Path) -> None:
    ascended, _ = train_people("ga", tmp_path / "ga", epochs=4)
    kept, _ = train_people("grad_diff", tmp_path / "gd", epochs=4, retain_weight=3.0)
    assert loss_of(ascended, FORGET) > loss_of(people_target(), FORGET) + 1
    assert loss_of(kept, RETAIN) < loss_of(ascended, RETAIN) - 1


def test_each_log_line_has_the_terms_of_its_own_steps(tmp_path: Path) -> None:
    """With two weights the logged loss is 2 · forget + 3 · retain at every line, of that step alone."""
    train_people("grad_diff", tmp_path / "out", forget_weight=2.0, retain_weight=3.0, learning_rate=3e-2)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert line["loss"] == pytest.approx(2 * line["forget"] + 3 * line["retain"], rel=1e-3, abs=1e-3)
    assert lines[0]["forget"] != lines[-1]["forget"]


def test_lora_is_merged_into_an_ordinary_model(tmp_path: Path) -> None:
    """Only the deltas trained; merged, the saved model has the target's own parameters, some changed."""
    model, summary = train_people("grad_diff", tmp_path / "out", adapter="lora", learning_rate=5e-2)
    target = people_target()
    assert set(model.state_dict()) == set(target.state_dict())
    changed = [name for name, value in target.state_dict().items() if not torch.equal(value, model.state_dict()[name])]
    assert changed
    assert all("proj" in name for name in changed)
    per_block = 4 * (2 * 32 + 2 * 32 + (32 + 16) * 2 + 3 * (32 + 48))  # q, o; k, v (16 wide); gate, up, down; rank 4
    assert summary["trainable_parameters"] == 4 * per_block


def test_without_rows_or_refusals_nothing_is_written(tmp_path: Path) -> None:
    for objective, rows, refusals in (
        ("npo_kl", without(PEOPLE_ROWS, "retain"), REFUSALS),
        ("dpo", PEOPLE_ROWS, []),
    ):
        with pytest.raises((ConfigError, DataError)):
            train(
                people_options(objective),
                tmp_path / "out",
                AssistantOptions(adapter="full"),
                target=people_target(),
                rows=rows,
                tokenizer=people_tokenizer(),
                refusals=refusals,
            )
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------------------- offset models


@pytest.mark.parametrize("objective", sorted(OFFSET_OBJECTIVES))
def test_offset_training_leaves_the_target_alone(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gradient reaches the target, its weights stay; the combined model starts as the target and moves away."""
    target = people_target()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    combination = CombinationOptions(rule="paper", alpha=1.0, filter_rate=0.0)
    touched: list[tuple[bool, bool]] = []

    def look(_: Any, args: Any, state: Any, control: Any, model: Any = None, **__: Any) -> None:
        """Gradients just before a step of the optimiser: any of the target's, any of what is trained."""
        grads = [any(p.grad is not None for p in one.parameters()) for one in (target, model)]
        touched.append((grads[0], grads[1]))

    monkeypatch.setattr(LogLines, "on_pre_optimizer_step", look)
    fitted = train(
        people_options(objective, learning_rate=3e-2),
        tmp_path / "assistant",
        AssistantOptions(num_layers=2, rank=4, lora_alpha=4.0),
        target=target,
        rows=PEOPLE_ROWS,
        tokenizer=people_tokenizer(),
        refusals=REFUSALS,
        combination=combination,
    )
    assert touched == [(False, True)] * 4
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert fitted.summary["steps"] == 4
    offset, start = fitted.trained.result()
    unlearned = UnlearnedForCausalLM.build(target, [offset, start], OffsetModel.WEIGHTS, combination)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        learnt = offset.view(ids).logits - start.view(ids).logits
        torch.testing.assert_close(unlearned(ids).logits, target(ids).logits + learnt, atol=1e-4, rtol=1e-4)
    assert loss_of(unlearned, FORGET) > loss_of(target, FORGET) + 0.01


def test_an_offset_model_starts_as_the_target() -> None:
    """Before training it and its start are alike, whatever the start's own logits are, with all adapters."""
    target = people_target()
    plain = CombinationOptions(rule="paper", alpha=1.0, filter_rate=0.0)
    for adapter in ("lora", "full"):
        shape = AssistantOptions(num_layers=2, adapter=adapter, rank=4, start_gain=1.0)
        both = OffsetModel(target, shape, plain, 0).result()
        combined = UnlearnedForCausalLM.build(target, both, OffsetModel.WEIGHTS, plain)
        assert loss_of(combined, FORGET) == pytest.approx(loss_of(target, FORGET), abs=1e-5)
