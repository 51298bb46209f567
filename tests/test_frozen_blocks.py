"""Blocks below ``lora_first_layer``: the target's own, what they make of the rows recorded once, the same training."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BloomConfig, PreTrainedConfig

from models_for_tests import tiny_tokenizer
from test_train import OPTIONS, ROWS
from tiny_models import CONFIGS, VOCABULARY, Reference, random_assistant, tiny_target, truncated
from unlogit.data.batches import TwoSidedSampler, predicted
from unlogit.data.encode import Encoded
from unlogit.errors import ConfigError, ModelError
from unlogit.model.assistant import Assistant, load_config, new_assistant
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.objectives.head import FrozenHead
from unlogit.objectives.uld import combined
from unlogit.settings.checks import check_assistant
from unlogit.settings.options import AssistantOptions, TrainOptions
from unlogit.training.frozen_blocks import BlocksAbove, Recorded, frozen_blocks
from unlogit.training.train import collate, drawn_rows, train_assistant
from unlogit.training.trainer import FROZEN_FILE, LogLines, check_checkpoints

TUPLES: dict[str, PreTrainedConfig] = {
    "bloom": BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=4, n_head=4, initializer_range=0.4)
}
"""Its blocks return hidden states first in a tuple."""
CODED = [Encoded(tuple(range(3, 3 + n)), 2) for n in (9, 4, 6, 12, 4)]
SHAPE = AssistantOptions(2, "lora", 4, lora_first_layer=1)
IDS = torch.tensor([[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41]])


def target_of(architecture: str) -> Any:
    if architecture in CONFIGS:
        return tiny_target(architecture).requires_grad_(False)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(TUPLES[architecture]).eval().requires_grad_(False)


def loss_and_gradients(assistant: Assistant, above: BlocksAbove | None, batch: Any) -> tuple[float, list[torch.Tensor]]:
    labels, counts, keep = predicted(batch["labels"])
    count = int(counts[batch["forget_side"]].sum())
    given = (batch["input_ids"], batch["attention_mask"], keep)
    hidden = assistant.hidden(*given) if above is None else above.hidden(*given, batch["hidden"])
    head = FrozenHead(assistant.view)
    forget, uniform = head.cross_entropy(hidden[:count], labels[:count]), head.uniform_excess(hidden[count:])
    loss = combined(forget, uniform, 1.0, None).total
    return loss.item(), list(torch.autograd.grad(loss, list(assistant.parameters())))


@pytest.mark.parametrize("architecture", [*CONFIGS, *TUPLES])
def test_loss_and_gradients_are_those_of_the_plain_way(architecture: str, tmp_path: Path) -> None:
    """Rows of four lengths, of both sides, padded; three blocks, LoRA on the last two, then on the last alone."""
    target = target_of(architecture)
    for first in (1, 2):
        assistant = random_assistant(target, 3, lora_first_layer=first)
        frozen = frozen_blocks(target, assistant, CODED, tmp_path, torch.float32)
        assert frozen is not None
        batch = collate([(row, i > 1) for i, row in enumerate(CODED)], frozen.recorded)
        loss, gradients = loss_and_gradients(assistant, frozen.above, batch)
        expected, plain = loss_and_gradients(assistant, None, batch)
        assert loss == pytest.approx(expected, abs=1e-5)
        for found, wanted in zip(gradients, plain, strict=True):
            assert wanted.abs().max() > 0
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))
        batch["hidden"] = batch["hidden"].flip(-1)  # what was recorded is what is used
        assert loss_and_gradients(assistant, frozen.above, batch)[0] != pytest.approx(expected, abs=1e-3)


def test_what_is_recorded(tmp_path: Path) -> None:
    """Token by token what the model itself gives after its second block, in an ordinary file of safetensors."""
    target = target_of("llama")
    frozen = frozen_blocks(target, random_assistant(target, 3, lora_first_layer=2), CODED, tmp_path, torch.float32)
    assert frozen is not None
    file = tmp_path / FROZEN_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    with safe_open(file, framework="pt") as opened:
        assert opened.get_tensor("hidden").shape == (9 + 4 + 6 + 12, 32)  # the row that comes twice stands there once
    padded = frozen.recorded.padded(CODED)  # [5, 12, 32]
    for row, hidden in zip(CODED, padded, strict=True):
        count = len(row.input_ids)
        expected = target(torch.tensor([row.input_ids]), output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(hidden[:count], expected, rtol=1e-4, atol=1e-4)
        assert not hidden[count:].any()


def test_it_is_taken_up_again_only_where_it_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = target_of("llama")

    def recorded_anew(first: int = 1, rows: Any = CODED, dtype: torch.dtype = torch.float32, of: Any = target) -> bool:
        frozen = frozen_blocks(of, random_assistant(of, 3, lora_first_layer=first), rows, tmp_path, dtype)
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        assert frozen is not None
        assert ("before the run was cut off" in out) == (frozen.seconds_before > 0)
        return "cut off" not in out

    assert recorded_anew()
    assert not recorded_anew()
    assert recorded_anew(first=2)
    assert recorded_anew(first=2, rows=CODED[:3])
    assert recorded_anew(first=2, rows=CODED[:3], dtype=torch.bfloat16)
    assert recorded_anew(first=2, rows=CODED[:3], of=tiny_target(seed=5))
    assert not recorded_anew(first=2, rows=CODED[:3], of=tiny_target(seed=5))
    (tmp_path / FROZEN_FILE).write_bytes((tmp_path / FROZEN_FILE).read_bytes()[:-1])
    assert recorded_anew(first=2, rows=CODED[:3], of=tiny_target(seed=5))
    (tmp_path / f".{FROZEN_FILE}.a1b2").touch()
    check_checkpoints(tmp_path)


def test_bfloat16(tmp_path: Path) -> None:
    """Recorded in the type in which a step computes, and near to what it computes."""
    target = target_of("gemma2").bfloat16()
    assistant = random_assistant(target, 2, lora_first_layer=1)
    frozen = frozen_blocks(target, assistant, CODED, tmp_path, torch.bfloat16)
    assert frozen is not None
    batch = collate([(row, i > 1) for i, row in enumerate(CODED)], frozen.recorded)
    assert batch["hidden"].dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = loss_and_gradients(assistant, frozen.above, batch)
        expected, _ = loss_and_gradients(assistant, None, batch)
    assert loss == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("instead", "words"), [((), "cannot be run alone ('aside')"), ((0,), "take more from these than hidden states")]
)
def test_blocks_that_hand_on_more_than_hidden_states(
    instead: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the second block adds what the first left aside, and where there is none fails, or adds nothing."""
    target = target_of("llama")
    aside: dict[str, torch.Tensor] = {}
    first, second = target.model.layers[:2]
    forward = first.forward

    def leaving(*args: Any, **kwargs: Any) -> torch.Tensor:
        aside["aside"] = forward(*args, **kwargs)
        return aside["aside"].flip(-1)

    first.forward = leaving
    second.register_forward_hook(lambda module, args, output: output + aside.pop("aside", *instead))
    assistant = random_assistant(target, 2, lora_first_layer=1)
    assert frozen_blocks(target, assistant, CODED, tmp_path, torch.float32) is None
    assert capsys.readouterr().out == f"All 2 blocks are run in every step: those above the frozen ones {words}.\n"
    assert not list(tmp_path.iterdir())


def test_rows_that_are_drawn() -> None:
    """Two steps a pass of two forget rows and one other: in one pass two of ten others, in five passes all."""
    sampler = TwoSidedSampler([[3] * 4, [3] * 10], [1], 2, seed=0)
    assert len(drawn_rows(sampler, 1.0)) == 4 + 2
    assert len(drawn_rows(sampler, 1.5)) == 4 + 4
    assert drawn_rows(sampler, 5.0) == list(range(14))


def trained(place: Path, options: TrainOptions, **more: Any) -> tuple[Assistant, dict[str, Any], list[Any]]:
    """Train on the rows of ``test_train``; return the assistant, its summary and the log."""
    assistant, summary = train_assistant(tiny_target(), tiny_tokenizer(), ROWS, place, SHAPE, options, **more)
    return assistant, summary, [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]


def test_a_training_is_the_same_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And its file is there while it lasts, readable by its owner only, and gone afterwards."""
    modes = []
    monkeypatch.setattr(
        LogLines,
        "on_step_end",
        lambda self, *_, **__: modes.append((self.log_file.parent / FROZEN_FILE).stat().st_mode & 0o777),
    )
    options = replace(OPTIONS, epochs=10, logging_steps=1)
    with_file, summary, log = trained(tmp_path / "a", options)
    assert modes == [0o600] * 10
    assert "What the 1 frozen block makes of 7 rows (" in capsys.readouterr().out
    assert summary["assistant"]["lora_first_layer"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]

    monkeypatch.undo()
    monkeypatch.setattr("unlogit.training.train.frozen_blocks", lambda *_: None)
    without, _, plain = trained(tmp_path / "b", options)
    for one, other in zip(log, plain, strict=True):
        assert one["forget"] == pytest.approx(other["forget"], abs=1e-4)
        assert one["uniform"] == pytest.approx(other["uniform"], abs=1e-4)
    assert log[-1]["forget"] < log[0]["forget"] / 2
    for name, tensor in without.state_dict().items():
        torch.testing.assert_close(with_file.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_cut_off_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After step 5 of 8, the third saved: the file is taken up again, its seconds count, the adapter is the same, that
    of tokens drawn at random too. Two steps make a pass; the one after the checkpoint is its second."""
    options = replace(OPTIONS, batch_size=2, epochs=4, save_steps=3, flat_share=0.5)
    whole, _, _ = trained(tmp_path / "whole", options)

    def cut(self: LogLines, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LogLines, "on_step_end", cut)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", options)
    file = tmp_path / "cut.checkpoints" / FROZEN_FILE
    file.write_bytes(file.read_bytes().replace(b'"seconds": "00000000000.', b'"seconds": "00000000900.', 1))
    capsys.readouterr()
    resumed, summary, _ = trained(tmp_path / "cut", options, resume=True)
    assert ", before the run was cut off" in capsys.readouterr().out
    assert 900 <= summary["setup_seconds"] < 950
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


@torch.no_grad()
def test_the_blocks_below_are_the_targets_and_have_no_deltas(tmp_path: Path) -> None:
    """Names keep their block's number; the merged model that shares no code of ours gives the same logits."""
    target = tiny_target()
    assistant = random_assistant(target, 3, lora_first_layer=1)
    names = [name.split(".")[1] for name in assistant.state_dict() if name.startswith("deltas.")]
    assert sorted(set(names)) == ["1", "2"]
    assert assistant.view.model.layers[0] is target.model.layers[0]
    torch.testing.assert_close(
        assistant.view(IDS).logits, truncated(target, assistant)(IDS).logits, atol=1e-4, rtol=1e-4
    )
    assistant.save(tmp_path)
    loaded = Assistant.load(tmp_path, tiny_target())
    assert loaded.settings == assistant.settings
    assert loaded.settings.lora_first_layer == 1
    assert torch.equal(loaded.view(IDS).logits, assistant.view(IDS).logits)


@torch.no_grad()
def test_an_assistant_that_was_saved_before_there_was_the_setting(tmp_path: Path) -> None:
    assistant = random_assistant(tiny_target())
    assistant.save(tmp_path)
    file = tmp_path / "assistant.json"
    values = json.loads(file.read_text())
    assert values.pop("lora_first_layer") == 0
    file.write_text(json.dumps(values))
    assert torch.equal(Assistant.load(tmp_path, tiny_target()).view(IDS).logits, assistant.view(IDS).logits)
    file.write_text(json.dumps(values | {"lora_first_layer": 2}))
    with pytest.raises(ModelError, match="lora_first_layer is 2; expected the settings of an assistant"):
        load_config(tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
def test_branches_with_other_first_layers(architecture: str) -> None:
    """Three LoRA branches, from blocks 0, 2 and 1 on, of 1, 3 and 3 blocks; the reference runs each by itself."""
    target = tiny_target(architecture)
    shapes = [(1, 0), (3, 2), (3, 1)]
    assistants = [random_assistant(target, k, seed=i, lora_first_layer=f) for i, (k, f) in enumerate(shapes)]
    weights = [1.0, -0.5, 0.5]
    reference = Reference(target, assistants, weights)
    expected = torch.stack([reference.logits(row) for row in IDS.tolist()])
    for mode in ("fused", "shared", "copy"):
        model = UnlearnedForCausalLM.build(target, assistants, weights, mode=mode)
        assert model.mode == mode
        torch.testing.assert_close(model(IDS).logits, expected, atol=1e-3, rtol=1e-3)
        settings = {"max_new_tokens": 4, "min_length": 10, "do_sample": False, "use_cache": True}
        out = model.generate(IDS, attention_mask=torch.ones_like(IDS), **settings)
        assert out[0].tolist() == reference.greedy(IDS[0].tolist(), 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora_first_layer": -1}, "lora_first_layer is -1; expected 0 or more: change it"),
        (
            {"lora_first_layer": 1, "adapter": "full"},
            "lora_first_layer is 1 with the adapter full; expected it with lora only: change it",
        ),
        ({"lora_first_layer": 3, "num_layers": 3}, "lora_first_layer is 3 and the assistant has 3 layers"),
        ({"lora_first_layer": 2, "num_layers": 0.5}, "lora_first_layer is 2 and the assistant has 2 layers"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Told from the target's config, and where only the model itself says how deep it is."""
    target = tiny_target()
    target.config.save_pretrained(tmp_path)
    options = AssistantOptions(**{"num_layers": 2, **changes})
    with pytest.raises(ConfigError) as caught:
        check_assistant(options, str(tmp_path))
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=f"lora_first_layer is {options.lora_first_layer} with . layers and the ada"):
        new_assistant(target, options, "tiny")
    check_assistant(replace(options, lora_first_layer=0), str(tmp_path))


def test_nothing_is_recorded_without_frozen_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = target_of("llama")
    assert frozen_blocks(target, random_assistant(target), CODED, tmp_path, torch.float32) is None
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out
    assert Recorded(tmp_path / "none", CODED).tokens == 31
