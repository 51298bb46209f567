"""The last block's MLP at the wanted positions alone: the same losses, gradients and logits, and less computed."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from test_frozen_blocks import CODED, TUPLES, loss_and_gradients, target_of
from tiny_models import CONFIGS, random_assistant, tiny_target
from unlogit.assistant import Assistant
from unlogit.attention import FasterAttention
from unlogit.data.encode import Encoded
from unlogit.frozen_blocks import BlocksAbove, frozen_blocks
from unlogit.last_mlp import LastMLP, only_at
from unlogit.modeling import UnlearnedForCausalLM
from unlogit.train import collate

IDS = torch.tensor([[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41], [4, 4, 50, 2, 30, 11]])
SIDES = [(row, i % 2 == 0) for i, row in enumerate(CODED)]


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
    """Branches of three depths, one of them the target's, one with blocks of its own; then a decoding step."""
    target = target_of(architecture)
    assistants = [
        random_assistant(target, 2),
        random_assistant(target, 4, seed=2),
        random_assistant(target, 2, "full", seed=3),
        random_assistant(target, 1, seed=4),
    ]
    model = unlearned(target, *assistants, weights=[1, -0.5, 0.3, 0.7], mode=mode)
    assert model.ends_alone
    mask = torch.ones_like(IDS)
    mask[1, :2] = 0  # padded on the left, as prompts are
    with torch.no_grad():
        few = model(input_ids=IDS, attention_mask=mask, logits_to_keep=1)
        chosen = model(input_ids=IDS, attention_mask=mask, logits_to_keep=torch.tensor([1, 4])).logits
        more = [torch.cat([mask, torch.ones_like(mask[:, :1])], 1), IDS[:, :1]]
        after = model(input_ids=more[1], attention_mask=more[0], past_key_values=few.past_key_values).logits
        kept = mask.bool() & (IDS > 10)
        parts = model.parts(IDS, mask, kept)
        model.ends_alone = False
        whole = model(input_ids=IDS, attention_mask=mask)
        plain_after = model(input_ids=more[1], attention_mask=more[0], past_key_values=whole.past_key_values).logits
        plain_parts = model.parts(IDS, mask, kept)
    torch.testing.assert_close(few.logits, whole.logits[:, -1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(chosen[[0, 2]], whole.logits[[0, 2]][:, [1, 4]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after, plain_after, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts, plain_parts, rtol=1e-4, atol=1e-4)


def test_a_prompt_computes_its_last_token_alone() -> None:
    """The target's last MLP, and the branch's rows in its own last block; the target's rows there go on."""
    target = tiny_target()
    inner, last = wrapped(target, Counted, 1, 3)
    model = unlearned(target, random_assistant(target, 2))
    for counted in (inner, last):
        counted.seen.clear()
    with torch.no_grad():
        model(input_ids=IDS, logits_to_keep=1)
        assert inner.seen == [IDS.numel(), len(IDS)]
        assert last.seen == [len(IDS)]
        model(input_ids=IDS)
        assert inner.seen[2:] == [2 * IDS.numel()]
        assert last.seen[1:] == [IDS.numel()]
        model(input_ids=IDS[:, :1], logits_to_keep=1)
        assert inner.seen[3:] == [2 * len(IDS)]
        assert last.seen[2:] == [len(IDS)]


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
        assert model.ends_alone is False
        few = model(input_ids=IDS, logits_to_keep=1).logits
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


def test_the_check_leaves_training_as_it_is() -> None:
    assistant = random_assistant(tiny_target(), adapter="full").train()
    batch = collate([(Encoded((3, 4, 5, 6), 2), True), (Encoded((7, 8, 9), 1), False)])
    loss_and_gradients(assistant, None, batch)
    assert assistant.training
    assert all(block.training for block in assistant.blocks)
