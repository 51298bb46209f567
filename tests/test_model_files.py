"""The unlearned model in its folder: what is written, and how it loads."""

import json
import logging
import stat
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, pipeline

from support.models_for_tests import tiny_tokenizer
from support.three_branches import IDS, WEIGHTS, build, logits_of, message_of, three_branches
from support.tiny_models import random_assistant, tiny_target
from unlogit import UnlearnedConfig, UnlearnedForCausalLM
from unlogit.errors import ModelError
from unlogit.model.assistant import Assistant
from unlogit.model.loading import load_target, load_unlearned
from unlogit.settings.options import CombinationOptions


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run's ``unlearned`` folder beside its target's folder, with a tokenizer in both."""
    target = tiny_target()
    target.save_pretrained(tmp_path / "target")
    tiny_tokenizer().save_pretrained(tmp_path / "target")
    target = AutoModelForCausalLM.from_pretrained(tmp_path / "target")
    model = UnlearnedForCausalLM.build(target, three_branches(target), WEIGHTS)
    model.generation_config.max_new_tokens = 5
    model.save_pretrained(tmp_path / "unlearned")
    tiny_tokenizer().save_pretrained(tmp_path / "unlearned")
    return tmp_path / "unlearned"


def test_what_is_written(saved: Path) -> None:
    """No weight of the target; the assistants only for their owner; a pointer to the target's absolute folder."""
    files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    weights = {name for name in files if name.endswith(".safetensors")}
    assert weights == {f"assistant-{i}/assistant.safetensors" for i in range(3)}
    assert all(stat.S_IMODE((saved / name).stat().st_mode) == 0o600 for name in weights)
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "unlogit"
    assert config["architectures"] == ["UnlearnedForCausalLM"]
    assert config["target_name"] == str(saved.parent / "target")
    assert [(b["folder"], b["weight"], b["num_layers"], b["adapter"]) for b in config["branches"]] == [
        ("assistant-0", 1.0, 1, "lora"),
        ("assistant-1", -0.5, 3, "lora"),
        ("assistant-2", 0.5, 2, "full"),
    ]
    assert (config["rule"], config["alpha"], config["filter_rate"], config["mode"]) == ("centred", 0.75, 0.001, "fused")


def test_one_assistant_has_a_plain_folder(tmp_path: Path) -> None:
    target = tiny_target()
    target.name_or_path = "some/hub-id"
    UnlearnedForCausalLM.build(target, [random_assistant(target)]).save_pretrained(tmp_path)
    assert (tmp_path / "assistant" / "assistant.safetensors").exists()
    assert json.loads((tmp_path / "config.json").read_text())["target_name"] == "some/hub-id"


@pytest.mark.parametrize("auto", [False, True], ids=["ours", "auto"])
def test_loading_gives_the_same_model(saved: Path, auto: bool) -> None:
    model = (AutoModelForCausalLM if auto else UnlearnedForCausalLM).from_pretrained(saved)
    assert type(model) is UnlearnedForCausalLM
    torch.testing.assert_close(logits_of(model), logits_of(build()), atol=1e-4, rtol=1e-4)
    assert model.mode == "fused"
    assert model.generation_config.max_new_tokens == 5
    assert not model.training
    model.save_pretrained(saved.parent / "again")
    again = AutoModelForCausalLM.from_pretrained(saved.parent / "again")
    torch.testing.assert_close(logits_of(again), logits_of(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("auto", [False, True], ids=["ours", "auto"])
def test_overrides(saved: Path, auto: bool) -> None:
    """Settings of the combination and arguments for the target, in one call."""
    model = (AutoModelForCausalLM if auto else UnlearnedForCausalLM).from_pretrained(
        saved,
        alpha=0.5,
        filter_rate=0.0,
        rule="suppress",
        mode="shared",
        dtype=torch.bfloat16,
        attn_implementation="eager",
        device_map="cpu",
    )
    assert (model.alpha, model.filter_rate, model.rule, model.mode) == (0.5, 0.0, "suppress", "shared")
    assert model.dtype == torch.bfloat16
    assert model.target.config._attn_implementation == model.config._attn_implementation == "eager"
    expected = build(combination=CombinationOptions("suppress", 0.5, 0.0))
    assert (logits_of(model) - logits_of(expected)).abs().max() < 1


def test_auto_config(saved: Path) -> None:
    config = AutoConfig.from_pretrained(saved)
    assert type(config) is UnlearnedConfig
    assert type(config.target_config).__name__ == "LlamaConfig"
    assert config.get_text_config().num_hidden_layers == 10


def test_pipeline(saved: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pipeline's own
        generate = pipeline("text-generation", model=str(saved), device="cpu")
    assert type(generate.model) is UnlearnedForCausalLM
    answer = generate("who wrote the red book ?", do_sample=False, return_tensors=True)[0]
    ids = torch.tensor([tiny_tokenizer()("who wrote the red book ?").input_ids])
    out = build().generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
    assert answer["generated_token_ids"] == out[0].tolist()
    assert "not supported" not in caplog.text


def test_a_target_that_has_moved(saved: Path) -> None:
    """One line that says what to give; then the new folder, or the model itself."""
    moved = (saved.parent / "target").rename(saved.parent / "moved")
    for load in (AutoModelForCausalLM.from_pretrained, lambda folder: load_unlearned(str(folder))):
        message = message_of(ModelError, lambda load=load: load(saved))
        assert str(saved.parent / "target") in message
        assert "--target" in message
    model = AutoModelForCausalLM.from_pretrained(saved, target=str(moved))
    torch.testing.assert_close(logits_of(model), logits_of(build()), atol=1e-4, rtol=1e-4)
    assert model.config.target_name == str(moved)
    target = AutoModelForCausalLM.from_pretrained(moved)
    model = UnlearnedForCausalLM.from_pretrained(saved, target=target)
    assert model.target is target
    torch.testing.assert_close(logits_of(model), logits_of(build()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_a_target_is_read_in_the_type_it_is_asked_for(saved: Path, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weight of it is ever float32 on the way: transformers is given the type, nothing is cast afterwards."""
    casts: list[Any] = []
    monkeypatch.setattr(torch.nn.Module, "float", lambda self: casts.append(self) or self)
    target = load_target(str(saved.parent / "target"), dtype)
    assert {parameter.dtype for parameter in target.parameters()} == {torch.bfloat16}
    assert casts == []
    assert load_target(str(saved.parent / "target")).dtype == torch.float32


def test_another_target_is_refused(saved: Path) -> None:
    tiny_target(seed=9).save_pretrained(saved.parent / "other")
    message = message_of(ModelError, lambda: UnlearnedForCausalLM.from_pretrained(saved, target=saved.parent / "other"))
    assert "'tiny'" in message
    assert str(saved.parent / "other") in message


def test_folders_and_names_that_lead_nowhere(saved: Path) -> None:
    missing = saved.parent / "missing"
    assert "no config.json" in message_of(ModelError, lambda: UnlearnedForCausalLM.from_pretrained(missing))
    (saved.parent / "target" / "config.json").unlink()
    message = message_of(ModelError, lambda: UnlearnedForCausalLM.from_pretrained(saved))
    assert str(saved.parent / "target") in message
    (saved / "assistant-1" / "assistant.json").unlink()
    target = tiny_target()
    assert "assistant-1" in message_of(ModelError, lambda: UnlearnedForCausalLM.from_pretrained(saved, target=target))


def test_what_is_not_saved(tmp_path: Path) -> None:
    """A target without a name has nothing to point to, and the assistant is not sent anywhere."""
    model = build()
    assert "config.target_name" in message_of(ModelError, lambda: model.save_pretrained(tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    assert "upload" in message_of(ModelError, lambda: model.save_pretrained(tmp_path / "a", push_to_hub=True))
    assert "upload" in message_of(ModelError, lambda: model.push_to_hub("name"))


def test_loaded_deltas_are_kept_in_the_type_they_are_computed_in(tmp_path: Path) -> None:
    """In half the memory, and nothing else changes: the gain stays in float32, which is scaled before it is cast."""
    target = tiny_target()
    target.save_pretrained(tmp_path / "target")
    target = AutoModelForCausalLM.from_pretrained(tmp_path / "target")
    UnlearnedForCausalLM.build(target, [random_assistant(target)]).save_pretrained(tmp_path / "unlearned")
    model = UnlearnedForCausalLM.from_pretrained(tmp_path / "unlearned", dtype=torch.bfloat16)
    types = {name: parameter.dtype for name, parameter in model.branches[0].named_parameters()}
    assert types.pop("gain") == torch.float32
    assert set(types.values()) == {torch.bfloat16}
    wide = UnlearnedForCausalLM.build(
        model.target, [Assistant.load(tmp_path / "unlearned" / "assistant", model.target)]
    )
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, wide(IDS).logits)
