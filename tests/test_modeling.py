"""The unlearned model as a model: its parts, settings, files, and how it moves, copies and loads."""

import copy
import pickle
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from transformers import AutoModelForCausalLM, PreTrainedConfig

from support.three_branches import IDS, WEIGHTS, build, logits_of, message_of, three_branches
from support.tiny_models import VOCABULARY, Reference, random_assistant, tiny_target
from unlogit import UnlearnedConfig, UnlearnedForCausalLM, combine_logits
from unlogit.errors import ConfigError, ModelError
from unlogit.model import forward as forward_module
from unlogit.model.assistant import Assistant
from unlogit.model.configuration import MODES
from unlogit.settings.options import CombinationOptions

# ---------------------------------------------------------------- running


def test_forward_equals_the_reference_in_every_mode() -> None:
    model = build()
    reference = Reference(model.target, list(model.branches), WEIGHTS)
    expected = torch.stack([reference.logits(row) for row in IDS.tolist()])
    for mode in MODES:
        model.mode = mode
        torch.testing.assert_close(logits_of(model), expected, atol=1e-4, rtol=1e-4)


def test_branches_as_deep_as_the_target() -> None:
    """LoRA on all four blocks beside whole ones: no block is the target's alone, in a forward or with a cache."""
    target = tiny_target()
    branches = [random_assistant(target, 4, seed=1), random_assistant(target, 4, adapter="full", seed=2)]
    model = UnlearnedForCausalLM.build(target, branches, [1.0, -0.5])
    reference = Reference(target, branches, [1.0, -0.5])
    expected = torch.stack([reference.logits(row) for row in IDS.tolist()])
    for mode in MODES:
        model.mode = mode
        torch.testing.assert_close(logits_of(model), expected, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            cache = model(IDS[:, :4]).cache
            torch.testing.assert_close(
                model(IDS[:, 4:], cache=cache).logits[:, -1], expected[:, -1], atol=1e-4, rtol=1e-4
            )


def test_alpha_zero_is_the_target_to_the_bit() -> None:
    """In every mode and type, and without spoiling the cache for a later alpha."""
    for dtype in (torch.float32, torch.bfloat16):
        model = build().to(dtype)
        for mode in MODES:
            model.mode, model.alpha = mode, 0.0
            with torch.no_grad():
                for ids in (
                    IDS,
                    IDS[:1, :1],
                    IDS[:1, :3],
                ):  # one row alone may round otherwise
                    assert torch.equal(model(ids, use_cache=False).logits, model.target(ids, use_cache=False).logits)
                cache = model(IDS[:, :4]).cache
                model.alpha = 0.75
                rounding = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.1}
                torch.testing.assert_close(
                    model(IDS[:, 4:], cache=cache).logits[:, -1], logits_of(model)[:, -1], **rounding
                )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("positions", [1, 5])
def test_logits_in_chunks_are_those_at_once(mode: str, positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At all positions, at the last ones and at some; Gemma 2 caps its logits after the head."""
    for architecture in ("llama", "gemma2"):
        target = tiny_target(architecture)
        model = UnlearnedForCausalLM.build(target, [random_assistant(target), random_assistant(target, 3, seed=2)])
        model.mode = mode
        kept: tuple[Any, ...] = (0, 2, torch.tensor([0, 3]))
        with torch.no_grad():
            expected = [model(IDS, logits_to_keep=some).logits for some in kept]
            with monkeypatch.context() as patch:
                patch.setattr(forward_module, "CHUNK_LOGITS", positions * model.config.vocab_size)
                found = [model(IDS, logits_to_keep=some).logits for some in kept]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_which_logits_to_keep() -> None:
    model = build()
    with torch.no_grad():
        assert torch.equal(model(IDS, logits_to_keep=None).logits, model(IDS).logits)
        assert model(IDS, logits_to_keep=torch.tensor([], dtype=torch.long)).logits.shape == (2, 0, VOCABULARY)


@pytest.mark.parametrize("mode", MODES)
def test_chunks_are_no_larger_than_said(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that reads more positions at once than it should would hold more logits."""
    model = build()
    model.mode = mode
    seen: list[int] = []
    apply = forward_module.view_logits

    def watched(view: Any, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(len(hidden))
        return apply(view, hidden)

    monkeypatch.setattr(forward_module, "CHUNK_LOGITS", 5 * VOCABULARY)
    monkeypatch.setattr(forward_module, "view_logits", watched)
    with torch.no_grad():
        model(IDS)
    assert len(seen) >= 3  # 12 positions, 5 at a time
    assert max(seen) <= 5 * 4  # of target and three branches


def test_labels_and_gradients_go_through_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    found = []
    for positions in (100, 5):
        monkeypatch.setattr(forward_module, "CHUNK_LOGITS", positions * VOCABULARY)
        embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
        loss = model(inputs_embeds=embedded, labels=IDS, use_cache=False).loss
        loss.backward()
        found.append((loss.detach(), embedded.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_settings_can_be_changed_on_the_loaded_model() -> None:
    model = build()
    reference = Reference(model.target, list(model.branches), WEIGHTS)
    model.alpha, model.filter_rate = 1.25, 0.0
    expected = reference.logits(IDS[0].tolist(), alpha=1.25, filter_rate=0.0)
    torch.testing.assert_close(logits_of(model)[0], expected, atol=1e-4, rtol=1e-4)
    centred = logits_of(model)
    model.rule = "suppress"
    assert (logits_of(model) - centred).abs().max() > 0.5
    for name, value in (("alpha", float("inf")), ("filter_rate", 1.0), ("rule", "centered"), ("mode", "fuzed")):
        before = getattr(model, name)
        with pytest.raises(ConfigError):
            setattr(model, name, value)
        assert getattr(model, name) == before
    with pytest.raises(ConfigError):
        model.combination = CombinationOptions("centred", 0.5, 1.0)
    assert model.combination == CombinationOptions("suppress", 1.25, 0.0)  # the valid alpha was not taken either
    model.combination = CombinationOptions("paper", 0.5, 0.01)
    assert (model.rule, model.alpha, model.filter_rate) == ("paper", 0.5, 0.01)
    assert (model.config.rule, model.config.alpha, model.config.filter_rate) == ("paper", 0.5, 0.01)


def test_parts_are_what_is_combined() -> None:
    """Seven of twelve positions with a padded row, in every mode: the model's own logits from its parts."""
    model = build()
    mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    keep = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0]]).bool()
    with torch.no_grad():
        whole = model(IDS, attention_mask=mask, use_cache=False).logits[keep]
        for mode in MODES:
            model.mode = mode
            target_logits, assistant_logits = model.parts(IDS, mask, keep)
            assert [tuple(logits.shape) for logits in assistant_logits] == [(7, VOCABULARY)] * 3
            again = combine_logits(
                target_logits, assistant_logits, model.weights, rule="centred", alpha=0.75, filter_rate=0.001
            )
            torch.testing.assert_close(again, whole, atol=1e-4, rtol=1e-4)
            nothing = model.parts(IDS, mask, torch.zeros_like(keep))
            assert [len(logits) for logits in (nothing[0], *nothing[1])] == [0] * 4
            expected = model.branches[0](IDS, mask, keep)
            torch.testing.assert_close(assistant_logits[0], expected, atol=1e-4, rtol=1e-4)


def test_loss() -> None:
    """Mean cross-entropy of the next token under the combined logits; two of ten labels ignored."""
    model = build()
    labels = IDS.clone()
    labels[0, 1] = labels[1, 5] = -100
    with torch.no_grad():
        out = model(IDS, labels=labels, use_cache=False)
    logs = logits_of(model)[:, :-1].log_softmax(-1).gather(-1, IDS[:, 1:, None])[..., 0]
    assert out.loss.item() == pytest.approx(-logs[labels[:, 1:] >= 0].mean().item(), rel=1e-5)


def test_without_a_cache_there_is_none() -> None:
    model = build()
    with torch.no_grad():
        assert model(IDS, use_cache=False).get("cache") is None
        assert len(model(IDS).cache.layers) == 4 + 1 + 3 + 2
        logits, _ = model(IDS, return_dict=False)
        assert torch.equal(logits, model(IDS).logits)


def test_attentions_and_hidden_states_are_refused() -> None:
    for name in ("output_attentions", "output_hidden_states"):
        with pytest.raises(ModelError, match=r"ask model\.target"):
            build()(IDS, **{name: True})


def test_bfloat16() -> None:
    """Fused and separate passes agree within bfloat16's rounding; whole blocks are cast to the target's type."""
    target = tiny_target().bfloat16()
    model = UnlearnedForCausalLM.build(target, three_branches(target), WEIGHTS, CombinationOptions(filter_rate=0.0))
    assert model.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in model.branches[2].parameters()} == {torch.bfloat16}
    fused = logits_of(model)
    assert fused.dtype == torch.bfloat16
    model.mode = "shared"
    assert (fused - logits_of(model)).abs().max() < 0.05 * fused.abs().max()
    model.generation_config.eos_token_id = None
    assert model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3, do_sample=False).shape == (2, 9)


def test_what_is_frozen_and_what_stays() -> None:
    """No weight of the target trains or is held twice; dropout stays off even in training mode."""
    model = build()
    target = model.target
    assert not any(parameter.requires_grad for parameter in target.parameters())
    names = dict(model.named_parameters())
    assert {name.split(".")[0] for name in names} == {"target", "branches"}
    assert not any("base" in name or "view" in name for name in names)
    own = sum(p.numel() for p in model.branches.parameters()) + sum(p.numel() for p in target.parameters())
    assert model.num_parameters() == own
    gpt = tiny_target("gpt2")  # drops one in ten
    gpt.train()
    unlearned = UnlearnedForCausalLM.build(gpt, [random_assistant(gpt)])
    unlearned.train()
    assert torch.equal(logits_of(unlearned), logits_of(unlearned))


@pytest.mark.parametrize("mode", MODES)
def test_copies_stand_on_their_own(mode: str) -> None:
    """deepcopy and pickle: the copy gives the same logits and no longer follows the original."""
    model = build(mode=mode)
    before = logits_of(model)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for twin in twins:
        torch.testing.assert_close(logits_of(twin), before, atol=1e-4, rtol=1e-4)
        assert twin.branches[0].view.get_output_embeddings() is twin.target.get_output_embeddings()
        with torch.no_grad():
            twin.target.model.layers[0].mlp.up_proj.weight.zero_()
        fused = logits_of(twin)
        assert (fused - before).abs().max() > 0.1
        if mode == "fused":
            twin.mode = "shared"
            torch.testing.assert_close(logits_of(twin), fused, atol=1e-4, rtol=1e-4)


def test_moving_moves_target_and_views() -> None:
    model = build()
    expected = logits_of(model)
    model.double()
    assert logits_of(model).dtype == torch.float64
    torch.testing.assert_close(logits_of(model).float(), expected, atol=1e-3, rtol=1e-3)
    model.half()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}
    assert logits_of(model).dtype == torch.float16


def test_on_an_offloaded_target() -> None:
    """The fused views run over weights that accelerate brings in while a layer runs."""
    target = cpu_offload(tiny_target())
    lora = UnlearnedForCausalLM.build(target, three_branches_of_lora(target), WEIGHTS)
    plain = tiny_target()
    expected = logits_of(UnlearnedForCausalLM.build(plain, three_branches_of_lora(plain), WEIGHTS))
    assert lora.mode == "fused"
    torch.testing.assert_close(logits_of(lora), expected, atol=1e-4, rtol=1e-4)


def three_branches_of_lora(target: Any) -> list[Any]:
    source = tiny_target()
    branches = [random_assistant(source, k, seed=k) for k in (1, 3, 2)]
    moved = [Assistant(target, branch.settings).eval() for branch in branches]
    for new, old in zip(moved, branches, strict=True):
        new.load_state_dict(old.state_dict())
    return moved


# ---------------------------------------------------------------- making


def test_what_cannot_be_built() -> None:
    target, other = tiny_target(), tiny_target()
    assistant = random_assistant(target)
    build = UnlearnedForCausalLM.build
    assert "no assistant" in message_of(ModelError, lambda: build(target, []))
    assert "Assistant.load" in message_of(ModelError, lambda: build(other, [assistant]))
    assert "2 weights" in message_of(ConfigError, lambda: build(target, [assistant], [1, 2]))
    assert "'shared'" in message_of(ConfigError, lambda: build(target, [assistant], mode="share"))
    assert "filter_rate is 2.0" in message_of(ConfigError, lambda: CombinationOptions(filter_rate=2.0))
    config = UnlearnedConfig(target_config=target.config)
    assert "from_pretrained" in message_of(ModelError, lambda: AutoModelForCausalLM.from_config(config))


def test_config_speaks_for_target_and_branches() -> None:
    """Sizes are the target's; the text config has room for 4 + 1 + 3 + 2 layers, kinds of layers included."""
    model = build()
    assert model.config.vocab_size == VOCABULARY
    assert model.config.num_hidden_layers == 4
    assert model.config.get_text_config().num_hidden_layers == 10
    assert model.config.eos_token_id == 2
    gemma = tiny_target("gemma2")
    branches = [random_assistant(gemma, 1), random_assistant(gemma, 3)]
    types = gemma.config.layer_types
    text = UnlearnedForCausalLM.build(gemma, branches).config.get_text_config()
    assert text.layer_types == [*types, *types[:1], *types[:3]]
    assert gemma.config.num_hidden_layers == 4
    assert UnlearnedConfig().get_text_config() is not None


def test_generation_settings_are_the_targets() -> None:
    """As a copy: what is changed on the model does not change the target."""
    target = tiny_target()
    target.generation_config.repetition_penalty = 1.25
    model = UnlearnedForCausalLM.build(target, [random_assistant(target)])
    assert model.generation_config.repetition_penalty == 1.25
    model.generation_config.repetition_penalty = 1.5
    assert target.generation_config.repetition_penalty == 1.25


def test_config_of_a_target_with_code_of_its_own() -> None:
    """Its config class is unknown until the target is loaded; what the config says can be read all the same."""
    config = UnlearnedConfig(target_config={"model_type": "of_its_own", "vocab_size": 7, "num_hidden_layers": 3})
    assert type(config.target_config) is PreTrainedConfig
    assert (config.vocab_size, config.num_hidden_layers) == (7, 3)


# ---------------------------------------------------------------- files
