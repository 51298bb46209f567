"""The assistant: what trains, what is shared, and what may be loaded onto what."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from safetensors.torch import load_file, save_file

from support.tiny_models import CONFIGS, random_assistant, tiny_target, truncated
from unlogit.errors import ModelError
from unlogit.model.assistant import Assistant, new_assistant
from unlogit.model.assistant_config import check_fingerprint, fingerprint, load_config
from unlogit.settings.options import AssistantOptions

IDS = torch.tensor([[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41]])


def untrained(target: Any, **options: Any) -> Assistant:
    return new_assistant(target, AssistantOptions(**{"num_layers": 2, "rank": 4, **options}), "tiny")


@torch.no_grad()
@pytest.mark.parametrize("architecture", list(CONFIGS))
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_view_is_the_truncated_model_with_the_adapter_merged(architecture: str, adapter: str) -> None:
    target = tiny_target(architecture)
    before = target(IDS).logits
    assistant = random_assistant(target, 2, adapter=adapter)
    expected = truncated(target, assistant)(IDS).logits
    torch.testing.assert_close(assistant.view(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    keep = torch.zeros_like(IDS, dtype=torch.bool)
    keep[:, 2:4] = True
    logits = assistant(IDS, torch.ones_like(IDS), keep)
    torch.testing.assert_close(logits, expected[keep], atol=1e-4, rtol=1e-4)
    assert (expected - truncated(target, untrained(target))(IDS).logits).abs().max() > 1
    assert torch.equal(target(IDS).logits, before)


@torch.no_grad()
def test_untrained_it_is_the_targets_early_exit_times_the_start_gain() -> None:
    target = tiny_target()
    exits = truncated(target, untrained(target))(IDS).logits
    torch.testing.assert_close(untrained(target).view(IDS).logits, exits)
    torch.testing.assert_close(untrained(target, adapter="full").view(IDS).logits, exits)


def test_only_the_adapter_trains() -> None:
    """Gradients reach the gain and every delta of both blocks, nothing of the target; 7 linear layers, rank 4."""
    target = tiny_target().requires_grad_(False)
    assistant = random_assistant(target, 2)
    assert len(list(assistant.parameters())) == 1 + 2 * 7 * 2
    assistant.view(IDS).logits.logsumexp(-1).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in assistant.parameters())
    assert all(parameter.grad is None for parameter in target.parameters())


def test_whole_blocks_train_and_the_targets_stay() -> None:
    target = tiny_target().requires_grad_(False)
    assistant = untrained(target, adapter="full")
    assistant.view(IDS).logits.logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in assistant.parameters())
    assert all(parameter.grad is None for parameter in target.parameters())
    own = {parameter.data_ptr() for parameter in assistant.parameters()}
    assert not own & {parameter.data_ptr() for parameter in target.parameters()}


@pytest.mark.parametrize(
    ("layers", "count"), [(1, 1), (3, 3), (0.25, 1), (0.5, 2), (0.1, 1), (2.0, 2), (4, 4), (0.99, 4)]
)
def test_number_of_layers(layers: float, count: int) -> None:
    """Of 4: a whole number, or a share of the depth, at least one."""
    assert untrained(tiny_target(), num_layers=layers).settings.num_layers == count


@pytest.mark.parametrize("layers", [5, 7, 0, -1, 1.5])
def test_number_of_layers_that_cannot_be(layers: float) -> None:
    with pytest.raises(ModelError, match="num_layers") as caught:
        untrained(tiny_target(), num_layers=layers)
    assert "\n" not in str(caught.value)
    assert f"{layers:g}" in str(caught.value)
    if layers > 4:
        assert "4" in str(caught.value)  # the target's depth


@torch.no_grad()
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_save_and_load(tmp_path: Path, adapter: str) -> None:
    """The same logits from another process's copy of the target, from safetensors that only the owner can read."""
    assistant = random_assistant(tiny_target(), 2, adapter=adapter)
    assistant.save(tmp_path / "assistant")
    assert sorted(path.name for path in (tmp_path / "assistant").iterdir()) == [
        "assistant.json",
        "assistant.safetensors",
    ]
    mode = (tmp_path / "assistant" / "assistant.safetensors").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    loaded = Assistant.load(tmp_path / "assistant", tiny_target())
    assert loaded.settings == assistant.settings == load_config(tmp_path / "assistant")
    assert torch.equal(loaded.view(IDS).logits, assistant.view(IDS).logits)
    assert not loaded.training


def test_another_target_is_refused_and_both_are_named(tmp_path: Path) -> None:
    """Also where a single weight differs much, and where only the type is another, it is the same target."""
    target = tiny_target()
    random_assistant(target).save(tmp_path)
    other = tiny_target(seed=9)
    other.name_or_path = "some/other"
    with pytest.raises(ModelError) as caught:
        Assistant.load(tmp_path, other)
    message = str(caught.value)
    assert "'tiny'" in message
    assert "'some/other'" in message
    assert fingerprint(target) in message
    assert fingerprint(other) in message
    assert "\n" not in message
    with torch.no_grad():
        target.model.layers[3].mlp.up_proj.weight[0, 0] += 1
    with pytest.raises(ModelError):
        Assistant.load(tmp_path, target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_the_same_target_in_another_type(dtype: torch.dtype) -> None:
    """Small weights included: float16 rounds those below 6e-5 coarsely, bfloat16 does not."""
    target = tiny_target()
    with torch.no_grad():
        target.model.layers[0].mlp.up_proj.weight *= 1e-6
    config = random_assistant(target).settings
    check_fingerprint(config, target.to(dtype))
    with pytest.raises(ModelError):
        check_fingerprint(config, tiny_target(seed=9).to(dtype))


@torch.no_grad()
def test_on_a_bfloat16_target() -> None:
    """The deltas stay float32, the target's layers and the logits are bfloat16."""
    target = tiny_target().bfloat16()
    assistant = random_assistant(target, 2)
    logits = assistant.view(IDS).logits
    assert logits.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in assistant.parameters()} == {torch.float32}
    expected = random_assistant(tiny_target(), 2).view(IDS).logits
    assert (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()


@torch.no_grad()
def test_on_an_offloaded_target(tmp_path: Path) -> None:
    """The target's weights come in layer by layer; the assistant's stay where they are used."""
    assistant = random_assistant(tiny_target(), 2)
    assistant.save(tmp_path)
    loaded = Assistant.load(tmp_path, cpu_offload(tiny_target()))
    torch.testing.assert_close(loaded.view(IDS).logits, assistant.view(IDS).logits)


def test_folders_that_hold_no_assistant(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"assistant\.json.*unlogit train"):
        Assistant.load(tmp_path, tiny_target())
    random_assistant(tiny_target()).save(tmp_path)
    (tmp_path / "assistant.safetensors").unlink()
    with pytest.raises(ModelError, match=r"assistant\.safetensors.*copy"):
        Assistant.load(tmp_path, tiny_target())


def refused(folder: Path) -> str:
    """The one line that says why this assistant cannot be loaded."""
    with pytest.raises(ModelError) as caught:
        Assistant.load(folder, tiny_target())
    message = str(caught.value)
    assert "\n" not in message
    assert "copy" in message
    assert "train" in message
    return message


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_weights_that_were_cut_off(tmp_path: Path, keep: int) -> None:
    """Empty, in the length of the header, in the header, and one byte short."""
    random_assistant(tiny_target()).save(tmp_path)
    file = tmp_path / "assistant.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert str(file) in refused(tmp_path)


def test_weights_of_another_adapter(tmp_path: Path) -> None:
    """A matrix of rank 4 where the settings say 8, and one tensor that is not there."""
    random_assistant(tiny_target()).save(tmp_path)
    config = tmp_path / "assistant.json"
    written = config.read_text()
    config.write_text(written.replace('"rank": 4', '"rank": 8'))
    assert "size mismatch" in refused(tmp_path)
    config.write_text(written)
    tensors = load_file(tmp_path / "assistant.safetensors")
    del tensors["gain"]
    save_file(tensors, tmp_path / "assistant.safetensors")
    assert '"gain"' in refused(tmp_path)


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"rank": None}, ["rank", "missing"]),
        ({"rnk": 4}, ["rnk", "unknown", "'rank'"]),
        ({"rank": "4"}, ["rank is '4'"]),
        ({"rank": 0}, ["rank is 0"]),
        ({"num_layers": 0.5}, ["num_layers is 0.5"]),
        ({"adapter": "lorra"}, ["adapter is 'lorra'"]),
    ],
)
def test_settings_that_were_damaged(tmp_path: Path, change: dict[str, Any], facts: list[str]) -> None:
    """None stands for a key that is not there."""
    random_assistant(tiny_target()).save(tmp_path)
    file = tmp_path / "assistant.json"
    values = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    message = refused(tmp_path)
    assert [fact for fact in (str(file), *facts) if fact not in message] == []


@pytest.mark.parametrize(("text", "fact"), [('{"rank": 4', "JSON"), ("[]", "list")])
def test_settings_that_are_none(tmp_path: Path, text: str, fact: str) -> None:
    random_assistant(tiny_target()).save(tmp_path)
    (tmp_path / "assistant.json").write_text(text)
    assert fact in refused(tmp_path)


def test_the_config_is_plain_json(tmp_path: Path) -> None:
    random_assistant(tiny_target()).save(tmp_path)
    written = json.loads((tmp_path / "assistant.json").read_text())
    assert {key: written[key] for key in ("num_layers", "adapter", "rank", "lora_alpha", "target_name")} == {
        "num_layers": 2,
        "adapter": "lora",
        "rank": 4,
        "lora_alpha": 4.0,
        "target_name": "tiny",
    }


@torch.no_grad()
@pytest.mark.parametrize("first", [0, 2])
def test_a_folder_of_version_0_1(tmp_path: Path, first: int) -> None:
    """Its LoRA could begin at a later block: the blocks below are the target's own."""
    assistant = random_assistant(tiny_target(), 3)
    for deltas in list(assistant.deltas)[:first]:
        for name, parameter in deltas.named_parameters():
            if name.endswith("lora_B"):
                parameter.zero_()
    assistant.save(tmp_path)
    config = tmp_path / "assistant.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_first_layer": first}))
    tensors = load_file(tmp_path / "assistant.safetensors")
    absent = tuple(f"deltas.{i}." for i in range(first))
    save_file(
        {name: tensor for name, tensor in tensors.items() if not name.startswith(absent)},
        tmp_path / "assistant.safetensors",
    )
    loaded = Assistant.load(tmp_path, tiny_target())
    assert torch.equal(loaded.view(IDS).logits, assistant.view(IDS).logits)
    config.write_text(config.read_text().replace(f'"lora_first_layer": {first}', '"lora_first_layer": 3'))
    assert "lora_first_layer is 3" in refused(tmp_path)
