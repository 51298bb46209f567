"""The last block's MLP at the wanted positions alone: the same losses, gradients and logits, and less computed."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from test_frozen_blocks import CODED, TUPLES, loss_and_gradients, target_of
from tiny_models import CONFIGS, random_assistant, tiny_target
from unlogit.model import unlearned as modeling
from unlogit.model.assistant import Assistant
from unlogit.model.attention import FasterAttention
from unlogit.model.decoder import alike, blocks_of
from unlogit.model.last_mlp import LastMLP, only_at
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.training.frozen_blocks import BlocksAbove, frozen_blocks
from unlogit.training.train import collate

IDS = torch.tensor([[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41], [4, 4, 50, 2, 30, 11]])
SIDES = [(row, i % 2 == 0) for i, row in enumerate(CODED)]


@pytest.fixture(autouse=True)
def short_prompts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling, "LEAST_TOKENS", 0)


def unlearned(target: Any, *assistants: Assistant, **settings: Any) -> Any:
    return UnlearnedForCausalLM.build(target, list(assistants), **settings)


class Counted(nn.Module):
    """An MLP that keeps how many positions it was given."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Any:
        self.seen.append(x.shape[:-1].numel())
        return self.mlp(x)


class Picky(nn.Module):
    """An MLP that wants more than one row."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor) -> Any:
        if len(x) == 1:
            raise ValueError("one row")
        return self.mlp(x)


class Mixing(nn.Module):
    """An MLP that hands a position what stands before it."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor) -> Any:
        return self.mlp(x + x.cumsum(dim=-2))


def wrapped(target: Any, wrap: Any, *numbers: int) -> list[Any]:
    """Put something around the MLPs of some of a Llama's blocks; return it."""
    found = []
    for i in numbers:
        block = target.model.layers[i]
        block.mlp = wrap(block.mlp)
        found.append(block.mlp)
    return found


@pytest.mark.parametrize("architecture", [*CONFIGS, *TUPLES])
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_loss_and_gradients_are_those_of_all_positions(architecture: str, adapter: str) -> None:
    """Rows of four lengths, of both sides, padded. Bloom's MLP takes two arguments, and stays whole."""
    assistant = random_assistant(target_of(architecture), adapter=adapter)
    batch = collate(SIDES)
    loss, gradients = loss_and_gradients(assistant, None, batch)
    assert assistant.ends_alone
    assistant.ends_alone = False
    plain_loss, plain = loss_and_gradients(assistant, None, batch)
    assert loss == pytest.approx(plain_loss, abs=1e-5)
    for found, expected in zip(gradients, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_frozen_blocks_below_too(tmp_path: Path) -> None:
    target = tiny_target().requires_grad_(False)
    (seen,) = wrapped(target, Counted, 1)
    assistant = random_assistant(target, lora_first_layer=1)
    frozen = frozen_blocks(target, assistant, CODED, tmp_path, torch.float32)
    assert frozen is not None
    batch = collate(SIDES, frozen.recorded)
    seen.seen.clear()
    loss, _ = loss_and_gradients(assistant, frozen.above, batch)
    assert seen.seen == [sum(row.answer_tokens for row in CODED)]
    assistant.ends_alone = False
    assert loss == pytest.approx(loss_and_gradients(assistant, BlocksAbove(assistant), batch)[0], abs=1e-5)


def test_a_step_computes_the_answers_alone() -> None:
    target = tiny_target().requires_grad_(False)
    first, last = wrapped(target, Counted, 0, 1)
    assistant = random_assistant(target)
    batch = collate(SIDES)
    loss_and_gradients(assistant, None, batch)
    assert first.seen[-1] == batch["input_ids"].numel()
    assert last.seen[-1] == sum(row.answer_tokens for row in CODED)


@pytest.mark.parametrize("architecture", [*CONFIGS, *TUPLES])
@pytest.mark.parametrize("mode", ["fused", "shared"])
def test_the_last_position_of_a_prompt(architecture: str, mode: str) -> None:
    """Branches of three depths, two that end together and differ, one as deep as the target, one with blocks of its
    own; then a decoding step."""
    target = target_of(architecture)
    assistants = [
        random_assistant(target, 2),
        random_assistant(target, 4, seed=2),
        random_assistant(target, 2, "full", seed=3),
        random_assistant(target, 1, seed=4),
        random_assistant(target, 2, seed=5),
    ]
    model = unlearned(target, *assistants, weights=[1, -0.5, 0.3, 0.7, -0.6], mode=mode)
    mask = torch.ones_like(IDS)
    mask[1, :2] = 0  # padded on the left, as prompts are
    longer, following = torch.cat([mask, torch.ones_like(mask[:, :1])], 1), IDS[:, :1]
    kept = mask.bool() & (IDS > 10)
    with torch.no_grad():
        few = model(input_ids=IDS, attention_mask=mask, logits_to_keep=1)
        assert model.ends_alone
        chosen = model(input_ids=IDS, attention_mask=mask, logits_to_keep=torch.tensor([2, 4])).logits
        embedded = model(inputs_embeds=target.get_input_embeddings()(IDS), attention_mask=mask, logits_to_keep=1)
        after = model(input_ids=following, attention_mask=longer, past_key_values=few.past_key_values).logits
        parts = model.parts(IDS, mask, kept)
        model.ends_alone = False
        whole = model(input_ids=IDS, attention_mask=mask)
        plain_after = model(input_ids=following, attention_mask=longer, past_key_values=whole.past_key_values).logits
        plain_parts = model.parts(IDS, mask, kept)
    torch.testing.assert_close(few.logits, whole.logits[:, -1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(embedded.logits, whole.logits[:, -1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(chosen, whole.logits[:, [2, 4]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after, plain_after, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts, plain_parts, rtol=1e-4, atol=1e-4)


def test_a_prompt_computes_its_last_token_alone() -> None:
    """The target's last MLP, and the branch's rows in its own last block; the target's rows there go on."""
    target = tiny_target()
    inner, last = wrapped(target, Counted, 1, 3)
    model = unlearned(target, random_assistant(target, 2))
    with torch.no_grad():
        model(input_ids=IDS, logits_to_keep=1)
        for counted in (inner, last):
            counted.seen.clear()
        model(input_ids=IDS, logits_to_keep=1)
        assert (inner.seen, last.seen) == ([IDS.numel(), len(IDS)], [len(IDS)])
        model(input_ids=IDS)
        assert (inner.seen[2:], last.seen[1:]) == ([2 * IDS.numel()], [IDS.numel()])
        model(input_ids=IDS[:, :1], logits_to_keep=1)
        assert (inner.seen[3:], last.seen[2:]) == ([2 * len(IDS)], [len(IDS)])
        model(input_ids=IDS, logits_to_keep=4)  # most of them
        assert last.seen[3:] == [IDS.numel()]
        model.parts(IDS, None, IDS > 20)
        assert (inner.seen[5:], last.seen[4:]) == ([IDS.numel(), int((IDS > 20).sum())], [int((IDS > 20).sum())])


def test_short_prompts_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling, "LEAST_TOKENS", IDS.numel() + 1)
    target = tiny_target()
    (last,) = wrapped(target, Counted, 3)
    model = unlearned(target, random_assistant(target, 2))
    last.seen.clear()
    with torch.no_grad():
        model(input_ids=IDS, logits_to_keep=1)
    assert last.seen == [IDS.numel()]


@pytest.mark.parametrize("mode", ["fused", "shared", "copy"])
def test_an_mlp_that_takes_no_part_of_a_row_stays_whole(mode: str) -> None:
    """It raises where positions are missing; nothing goes on from there in training mode or half done."""
    target = tiny_target().requires_grad_(False)
    wrapped(target, Picky, 1, 3)
    assistant = random_assistant(target).train()
    with torch.no_grad():
        whole = torch.ones_like(IDS)
        assert assistant.hidden(IDS, whole, IDS > 10).shape == (int((IDS > 10).sum()), 32)
        assert assistant.ends_alone is False
        assert assistant.training
        model = unlearned(target, assistant, mode=mode)
        assert model.mode == mode
        few = model(input_ids=IDS, logits_to_keep=1).logits
        assert model.ends_alone is False
        torch.testing.assert_close(few, model(input_ids=IDS).logits[:, -1:], rtol=1e-4, atol=1e-4)


def test_an_mlp_that_mixes_positions_stays_whole() -> None:
    target = tiny_target().requires_grad_(False)
    wrapped(target, Mixing, 1, 3)
    assistant = random_assistant(target)
    with torch.no_grad():
        mask = torch.ones_like(IDS)
        keep = IDS > 10
        found = assistant.hidden(IDS, mask, keep)
        assert assistant.ends_alone is False
        torch.testing.assert_close(found, assistant.hidden(IDS, mask, mask.bool())[keep.flatten()])
        model = unlearned(target, assistant)
        few = model(input_ids=IDS, logits_to_keep=1).logits
        assert model.ends_alone is False
        torch.testing.assert_close(few, model(input_ids=IDS).logits[:, -1:], rtol=1e-4, atol=1e-4)


def test_rows_of_another_shape_are_whole() -> None:
    mlp = LastMLP(nn.Linear(4, 4), [nn.Linear(4, 4)], None, 0)
    x = torch.randn(2, 3, 4)
    with only_at(torch.ones(3, 2, dtype=torch.bool)):
        torch.testing.assert_close(mlp(x), mlp.mlp(x))


def test_another_thread_is_not_concerned() -> None:
    linear = nn.Linear(4, 4)
    mlp, x = LastMLP(linear, [linear], None, 0), torch.randn(2, 3, 4)
    found = []
    with only_at(torch.zeros(2, 3, dtype=torch.bool)):
        thread = threading.Thread(target=lambda: found.append(mlp(x)))
        thread.start()
        thread.join()
        assert not mlp(x).any()
    torch.testing.assert_close(found[0], linear(x))


def test_the_faster_attention_is_used_beside_it() -> None:
    """Llama's MLP keeps the config, by which models that use that attention are found."""
    target = tiny_target()
    model = unlearned(target, random_assistant(target))
    assert model.faster.configs
    assert FasterAttention(model.branches[0].view).configs


def test_the_check_leaves_mode_and_mask_as_they_are() -> None:
    """GPT-2 has dropout: with it the two ways could not be compared."""
    assistant = random_assistant(tiny_target("gpt2"), adapter="full").train()
    mask = torch.ones_like(IDS, dtype=torch.bool)
    assistant.hidden(IDS, mask, IDS > 10)
    assert assistant.ends_alone
    assert mask.all()
    for mode in (True, False):
        assistant.train(mode)
        blocks = [*assistant.blocks, *blocks_of(assistant.view)]
        assert [block.training for block in blocks] == [mode] * len(blocks)


def test_numbers_that_are_not_finite_stand_in_the_same_places() -> None:
    plain = torch.tensor([[1.0, 2.0, -float("inf")]])
    assert alike(plain * 1.00001, plain, torch.float32)
    assert not alike(plain * 1.01, plain, torch.float32)
    assert alike(plain * 1.01, plain, torch.bfloat16)
    assert not alike(plain.nan_to_num(neginf=3), plain, torch.bfloat16)
    assert not alike(plain.roll(1), plain, torch.bfloat16)
