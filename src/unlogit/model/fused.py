"""Target and branches in one pass: rows [target; branch 0; branch 1; …] through one view of the target.

The first blocks run all rows at once, so that each weight is read once for all streams, with every branch's low-rank
delta added on that branch's rows only. A branch's rows leave after its K blocks and wait, untouched, beside those
that go on; norm and head then run once over all. Nothing here knows an architecture.

Shape legend: B rows of one stream, S streams (the target and the branches), T tokens, H hidden.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlogit.model.assistant import Assistant, GainNorm, LowRank
from unlogit.model.decoder import anatomy, blocks_of, replaced, with_blocks
from unlogit.model.forward import ForwardPlan, ViewPass


class WithRowDeltas(nn.Module):
    """A linear layer of the target over rows [target; branch 0; …], with each branch's delta on its own rows."""

    def __init__(self, base: nn.Module, deltas: Sequence[LowRank]) -> None:
        super().__init__()
        self.base, self.deltas = base, nn.ModuleList(deltas)

    def forward(self, x: Tensor) -> Tensor:
        """Return base(x) [S·B, …, outputs] plus the deltas, each on the rows of its stream."""
        out: Tensor = self.base(x)
        deltas: Any = self.deltas
        rows = x.shape[0] // (1 + len(deltas))  # B, or B·T where a block flattens its rows
        for stream, delta in enumerate(deltas, start=1):
            stream_rows = slice(stream * rows, (stream + 1) * rows)
            delta.add_to(out[stream_rows], x[stream_rows])
        return out


class RowGainNorm(nn.Module):
    """The target's norm over rows [target; branch 0; …], followed by each branch's gain on its own rows."""

    def __init__(self, norm: nn.Module, gains: Sequence[GainNorm]) -> None:
        super().__init__()
        self.norm, self.gains = norm, nn.ModuleList(gains)

    def forward(self, x: Tensor) -> Tensor:
        """Return norm(x) [S·B, T, H], times the gains in rows B onward."""
        target, *branches = self.norm(x).chunk(1 + len(self.gains))  # S of [B, T, H]
        gains: Any = self.gains
        scaled = [gain.scale(rows) for gain, rows in zip(gains, branches, strict=True)]
        return torch.cat([target, *scaled])  # [S·B, T, H]


class PartialBatchBlock(nn.Module):
    """A block that runs the first ``active`` of ``streams`` streams and hands the rows of the others through."""

    def __init__(self, block: nn.Module, active: int, streams: int) -> None:
        super().__init__()
        self.block, self.active, self.streams = block, active, streams

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block on its rows of every argument; return what it returns, hidden states [S·B, T, H] complete."""
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        rows = hidden.shape[0]
        active_rows = rows // self.streams * self.active
        out = self.block(*first_rows(args, rows, active_rows), **first_rows(kwargs, rows, active_rows))
        if isinstance(out, tuple):
            return (torch.cat([out[0], hidden[active_rows:]]), *out[1:])  # [S·B, T, H]
        return torch.cat([out, hidden[active_rows:]])  # [S·B, T, H]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "block" or name.startswith("__"):
                raise
            return getattr(self.block, name)  # such as attention_type, which the model reads off its blocks


def first_rows(value: Any, rows: int, count: int) -> Any:
    """Return the first ``count`` rows of every tensor in ``value`` that has ``rows`` of them; all else as it is.

    Two-dimensional tensors count only if they hold whole numbers or booleans (positions, masks): [T, features] may
    have as many tokens as there are rows.
    """
    if isinstance(value, Tensor):
        by_row = value.ndim > 2 or (value.ndim == 2 and not value.is_floating_point())
        return value[:count] if by_row and value.shape[0] == rows else value
    if isinstance(value, dict):
        return {key: first_rows(item, rows, count) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(first_rows(item, rows, count) for item in value)
    return value


def fused_view(target: nn.Module, assistants: Sequence[Assistant]) -> nn.Module:
    """Return a view of the target that runs rows [target; assistant 0; assistant 1; …] in one pass.

    Args:
        target: the language model.
        assistants: LoRA assistants of this target, the deepest first.
    """
    layout = anatomy(target)
    streams = 1 + len(assistants)
    blocks: list[nn.Module] = []
    for i, block in enumerate(blocks_of(target)):
        active = [assistant for assistant in assistants if i < assistant.settings.num_layers]
        view = with_row_deltas(block, i, active) if active else block
        blocks.append(view if len(active) == len(assistants) else PartialBatchBlock(view, 1 + len(active), streams))
    norm = getattr(target.get_submodule(layout.inner), layout.norm)
    views: list[Any] = [assistant.view for assistant in assistants]
    gains = [getattr(view.get_decoder(), layout.norm) for view in views]
    return with_blocks(target, blocks, RowGainNorm(norm, gains))


def with_row_deltas(block: nn.Module, index: int, assistants: Sequence[Assistant]) -> nn.Module:
    """Return a view of the target's block ``index`` with the deltas that the assistants have for it."""
    by_path: dict[str, list[LowRank]] = {}
    for assistant in assistants:
        deltas: Any = assistant.deltas[index]
        for key, delta in deltas.items():
            by_path.setdefault(key.replace("/", "."), []).append(delta)
    layers = {path: WithRowDeltas(block.get_submodule(path), deltas) for path, deltas in by_path.items()}
    return replaced(block, layers)


def fused_plan(target: Any, assistants: Sequence[Assistant]) -> ForwardPlan:
    """Return one pass for the target with all LoRA assistants, and one for each that has blocks of its own."""
    streams = range(1, len(assistants) + 1)
    full = [stream for stream in streams if assistants[stream - 1].settings.adapter == "full"]
    low_rank = [stream for stream in streams if stream not in full]
    low_rank.sort(key=lambda stream: -assistants[stream - 1].settings.num_layers)  # the deepest first
    view = fused_view(target, [assistants[stream - 1] for stream in low_rank]) if low_rank else target
    full_passes = [ViewPass.of(assistants[stream - 1].view, [stream]) for stream in full]
    return ForwardPlan([ViewPass.of(view, [0, *low_rank]), *full_passes])
