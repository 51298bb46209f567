"""Training by objectives on sides, on tiny models: what is trained, what stays, what a step is made of."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM
from unlogit.training.rewrite import (
    OFFSET_WEIGHTS,
    Item,
    SidesTrainer,
    collate,
    loss_numbers,
    make_items,
    new_offset,
    rewrite_model,
    train_offset,
)

from support.tiny_models import tiny_target
from support.tiny_run import tiny_config
from support.tiny_run import tiny_tokenizer as people_tokenizer
from unlogit.data.batches import pad_rows
from unlogit.data.encode import IGNORED_LABEL, Encoded
from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.objectives import OBJECTIVES
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES
from unlogit.settings.options import AssistantOptions, CombinationOptions, TrainOptions
from unlogit.training.reference import measure_reference, with_own_head
from unlogit.training.trainer import LogLines

FORGET = [Example(f"Who is person {i}?", f"A baker of {'very ' * (3 - i)}old towns.") for i in range(4)]
"""The longest first: sorted by length they stand in another order."""
RETAIN = [Example(f"Where is place {i}?", f"In county {i}.") for i in range(6)]
REFUSALS = ["I do not know.", "No idea."]


def options(objective: str, **changes: Any) -> TrainOptions:
    """Two passes of two steps, at a rate that moves a tiny model."""
    values = {"learning_rate": 1e-2, "epochs": 2, "batch_size": 2, "dtype": "float32", "logging_steps": 1}
    return TrainOptions(objective=objective, **{**values, **changes})


def people_target(seed: int = 0) -> Any:
    """A tiny Llama with the vocabulary of the made-up people's tokenizer and a tied head."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(tiny_config(tied=True)).eval()


def rewrite(objective: str, folder: Path, adapter: Any = "full", **changes: Any) -> tuple[Any, dict[str, Any]]:
    """Rewrite the tiny target by an objective."""
    shape = AssistantOptions(adapter=adapter, rank=4, lora_alpha=4.0)
    return rewrite_model(
        people_target(),
        people_tokenizer(),
        FORGET,
        RETAIN,
        REFUSALS,
        folder / "out",
        shape,
        options(objective, **changes),
        bar=False,
    )


def loss_of(model: Any, rows: list[Example]) -> float:
    """Mean cross-entropy of the answers, by the model's own forward."""
    from unlogit.evaluate.scoring.score import score_examples

    scores = score_examples(model, people_tokenizer(), rows, batch_size=4, generate=False)
    return sum(score.answer_loss for score in scores) / len(scores)


@pytest.mark.parametrize("objective", sorted(WEIGHT_OBJECTIVES))
def test_every_objective_trains(objective: str, tmp_path: Path) -> None:
    """A model of its own comes out; forgetting moved it, and what the summary says was done."""
    before = loss_of(people_target(), FORGET)
    model, summary = rewrite(objective, tmp_path, learning_rate=3e-3)
    assert summary["steps"] == 4
    assert summary["trainable_parameters"] == sum(p.numel() for p in model.parameters())
    assert abs(loss_of(model, FORGET) - before) > 1e-3
    from transformers import AutoModelForCausalLM

    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loss_of(saved, FORGET) == pytest.approx(loss_of(model, FORGET), abs=1e-5)
    assert not (tmp_path / "out.checkpoints").exists()


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_bfloat16_takes_the_loss_of_the_same_model(adapter: str, tmp_path: Path) -> None:
    """Mixed precision replaces the model's forward; the first step's terms are float32's up to rounding."""
    terms = []
    for dtype in ("float32", "bfloat16"):
        _, summary = rewrite("grad_diff", tmp_path / dtype, adapter=adapter, epochs=0.5, dtype=dtype)
        assert summary["dtype"] == dtype
        line = json.loads((tmp_path / dtype / "out" / "log.jsonl").read_text().splitlines()[0])
        terms.append([line["forget"], line["retain"]])
    assert terms[1] == pytest.approx(terms[0], rel=1e-2)
    assert terms[1] != terms[0]  # the blocks, too, are computed in it


def test_ascent_raises_the_forget_loss_and_retain_terms_hold_the_other(tmp_path: Path) -> None:
    ascended, _ = rewrite("ga", tmp_path / "ga", epochs=4)
    kept, _ = rewrite("grad_diff", tmp_path / "gd", epochs=4, retain_weight=3.0)
    assert loss_of(ascended, FORGET) > loss_of(people_target(), FORGET) + 1
    assert loss_of(kept, RETAIN) < loss_of(ascended, RETAIN) - 1


def test_each_log_line_has_the_terms_of_its_own_steps(tmp_path: Path) -> None:
    """With two weights the logged loss is 2 · forget + 3 · retain at every line, of that step alone."""
    rewrite("grad_diff", tmp_path, forget_weight=2.0, retain_weight=3.0, learning_rate=3e-2)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert line["loss"] == pytest.approx(2 * line["forget"] + 3 * line["retain"], rel=1e-3, abs=1e-3)
    assert lines[0]["forget"] != lines[-1]["forget"]


def test_lora_is_merged_into_an_ordinary_model(tmp_path: Path) -> None:
    """Only the deltas trained; merged, the saved model has the target's own parameters, some changed."""
    model, summary = rewrite("grad_diff", tmp_path, adapter="lora", learning_rate=5e-2)
    target = people_target()
    assert set(model.state_dict()) == set(target.state_dict())
    changed = [name for name, value in target.state_dict().items() if not torch.equal(value, model.state_dict()[name])]
    assert changed
    assert all("proj" in name for name in changed)
    per_block = 4 * (2 * 32 + 2 * 32 + (32 + 16) * 2 + 3 * (32 + 48))  # q, o; k, v (16 wide); gate, up, down; rank 4
    assert summary["trainable_parameters"] == 4 * per_block


def test_the_reference_is_the_model_before_training(tmp_path: Path) -> None:
    """Stored hidden states through the stored head give the target's logits also after every weight has changed."""
    model = people_target()
    tokenizer = people_tokenizer()
    items = make_items("forget", FORGET, tokenizer, WEIGHT_OBJECTIVES["undial"], options("undial"), REFUSALS)
    rows = {"forget": {item.number: item.answer for item in items}}
    needs = frozenset({"forget_reference_nll", "forget_reference_logits"})
    reference = measure_reference(model, rows, needs, frozen=False)
    batch = pad_rows([items[2].answer, items[0].answer])
    counted = batch["labels"][:, 1:] != IGNORED_LABEL
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1][counted]
        nll = nn.functional.cross_entropy(logits, batch["labels"][:, 1:][counted], reduction="none")
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    found = reference.logits_of("forget", [2, 0], torch.device("cpu"))
    torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)
    sums = [float(part.sum()) for part in torch.split(nll, counted.sum(1).tolist())]
    assert reference.nll_of("forget", [2, 0]).tolist() == pytest.approx(sums, abs=1e-3)
    assert reference.logits_of("retain", [0], torch.device("cpu")) is None


def test_a_frozen_head_is_not_copied() -> None:
    model = people_target()
    rows = {"retain": {0: Encoded((1, 2, 3), 1)}}
    reference = measure_reference(model, rows, frozenset({"retain_reference_logits"}), frozen=True)
    assert reference.head is model
    assert with_own_head(model).get_output_embeddings().weight is not model.get_output_embeddings().weight
    assert measure_reference(model, rows, frozenset(), frozen=False).head is None


def test_sides_are_put_together_and_taken_apart() -> None:
    """The logits of each side are those of its own rows, alone in a batch."""
    model, tokenizer = people_target(), people_tokenizer()
    objective = WEIGHT_OBJECTIVES["idk_ap"]
    settings = options("idk_ap")
    forget = make_items("forget", FORGET, tokenizer, objective, settings, REFUSALS)
    retain = make_items("retain", RETAIN, tokenizer, objective, settings, REFUSALS)
    batch = collate([retain[3], forget[1], forget[2], retain[0]])
    assert batch["numbers"] == {"forget": [1, 2], "refusal": [1, 2], "retain": [3, 0], "retain_refusal": [3, 0]}
    counted = batch["labels"][:, 1:] != IGNORED_LABEL
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1][counted]
    trainer = SidesTrainer.__new__(SidesTrainer)
    trainer.reference = measure_reference(model, {}, frozenset(), frozen=True)
    sides = trainer._sides(logits, batch["labels"][:, 1:][counted], counted.sum(dim=1), batch["numbers"])
    wanted = {"refusal": [forget[1].refusal, forget[2].refusal], "retain": [retain[3].answer, retain[0].answer]}
    for side, rows in wanted.items():
        found = getattr(sides, side)
        assert found.lengths().tolist() == [row.answer_tokens for row in rows]
        assert found.labels.tolist() == [token for row in rows for token in row.input_ids[row.prompt_tokens :]]
        alone = pad_rows([rows[1]])
        with torch.no_grad():
            own = model(alone["input_ids"]).logits[0, rows[1].prompt_tokens - 1 : -1]
        torch.testing.assert_close(found.logits[found.rows == 1], own, atol=1e-4, rtol=1e-4)


def test_whole_rows_where_the_objective_says_so() -> None:
    (item,) = make_items("forget", FORGET[:1], people_tokenizer(), WEIGHT_OBJECTIVES["me_gd"], options("me_gd"), [])
    assert item.answer.prompt_tokens == 1
    (kept,) = make_items("retain", RETAIN[:1], people_tokenizer(), WEIGHT_OBJECTIVES["me_gd"], options("me_gd"), [])
    assert kept.answer.prompt_tokens > 1


def test_numbers_of_the_paper_unless_given() -> None:
    assert loss_numbers(WEIGHT_OBJECTIVES["simnpo"], options("simnpo"))["beta"] == 4.5
    given = loss_numbers(WEIGHT_OBJECTIVES["simnpo"], options("simnpo", beta=2.0, forget_weight=0.0))
    assert given == {"forget_weight": 0.0, "retain_weight": 1.0, "beta": 2.0, "gamma": 0.0}


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
    (offset, start), summary = train_offset(
        target,
        people_tokenizer(),
        FORGET,
        RETAIN,
        REFUSALS,
        tmp_path / "assistant",
        AssistantOptions(num_layers=2, rank=4, lora_alpha=4.0),
        options(objective, learning_rate=3e-2),
        combination,
        bar=False,
    )
    assert touched == [(False, True)] * 4
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert summary["steps"] == 4
    unlearned = UnlearnedForCausalLM.build(target, [offset, start], OFFSET_WEIGHTS, combination)
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
        combined = UnlearnedForCausalLM.build(target, new_offset(target, shape, 0), OFFSET_WEIGHTS, plain)
        assert loss_of(combined, FORGET) == pytest.approx(loss_of(target, FORGET), abs=1e-5)


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    text = [Example("", "Once upon a time.", kind="text")]
    with pytest.raises(DataError, match="answers questions with refusals"):
        make_items("forget", text, people_tokenizer(), WEIGHT_OBJECTIVES["dpo"], options("dpo"), REFUSALS)
    with pytest.raises(DataError, match="no retain rows"):
        rewrite_model(
            people_target(),
            people_tokenizer(),
            FORGET,
            [],
            REFUSALS,
            tmp_path / "out",
            AssistantOptions(adapter="full"),
            options("npo_kl"),
        )
    with pytest.raises(ConfigError, match="needs refusals"):
        rewrite_model(
            people_target(),
            people_tokenizer(),
            FORGET,
            RETAIN,
            [],
            tmp_path / "out",
            AssistantOptions(adapter="full"),
            options("dpo"),
        )
    assert not (tmp_path / "out").exists()


def test_names_have_kinds() -> None:
    assert OBJECTIVES["uld"] == OBJECTIVES["divergence"] == "branches"
    assert OBJECTIVES["npo_kl"] == "weights"
    assert OBJECTIVES["offset_npo_kl"] == "offset"
    assert len(OBJECTIVES) == 19


def test_items_are_one_dataset(tmp_path: Path) -> None:
    """Refusals depend on the row's number, and are the same in every pass."""
    made = [
        make_items("forget", FORGET, people_tokenizer(), WEIGHT_OBJECTIVES["dpo"], options("dpo"), REFUSALS)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert isinstance(made[0][0], Item)


def test_two_architectures_train_too(tmp_path: Path) -> None:
    """A head that is not tied, and one with soft-capped logits: the reference's logits are the model's own."""
    for architecture in ("gpt_neox", "gemma2"):
        model = tiny_target(architecture)
        rows = {"retain": {0: Encoded((5, 6, 7, 8), 2)}}
        reference = measure_reference(model, rows, frozenset({"retain_reference_logits"}), frozen=False)
        with torch.no_grad():
            expected = model(torch.tensor([[5, 6, 7, 8]])).logits[0, 1:3]
            for parameter in model.parameters():
                parameter.mul_(1.5)
        found = reference.logits_of("retain", [0], torch.device("cpu"))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
