"""Where only some positions are wanted, the MLP of a model's last block runs on those alone.

After the last block nothing reads the other positions: attention, which does, stands before its MLP. In a training
step that leaves out questions and padding, in a prompt all but its last token, for four fifths of a block's products;
for a branch of a few blocks that is much. What is not computed stays zero.

That a model's MLP takes each position by itself, and that nothing after it takes them together, is not known here but
compared once by those who use it.

Shape legend: B rows of one stream, S streams, T tokens, H hidden.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor, nn

from unlogit.model.decoder import replaced

NAMES = ("mlp", "feed_forward", "block_sparse_moe", "ffn")
"""What models call the MLP of a block."""

Made = TypeVar("Made")

_WANTED: ContextVar[Tensor | None] = ContextVar("wanted", default=None)


@contextmanager
def only_at(wanted: Tensor | None) -> Iterator[None]:
    """Compute the last MLP of what is run inside, in this thread, at the True positions of ``wanted`` [B, T] alone; at
    all for None."""
    token = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def same_at(wanted: Tensor, run: Callable[[], Made]) -> Made | None:
    """Return what ``run`` gives with the last MLPs at the wanted positions alone; None where that cannot be run."""
    try:
        with only_at(wanted):
            return run()
    except Exception:  # whatever an MLP that wants all of its positions raises
        return None


class LastMLP(nn.Module):
    """The MLP of a block in which streams end, over rows [those that go on; those that end]."""

    def __init__(self, mlp: nn.Module, ends: Sequence[nn.Module], going: nn.Module | None, streams: int) -> None:
        """Take the MLP of all streams, that of each that ends, and that of those that go on, ``streams`` of them."""
        super().__init__()
        self.mlp, self.ends, self.going, self.streams = mlp, nn.ModuleList(ends), going, streams

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Return mlp(x) for x [S·B, T, H]; zeros where a stream ends and nothing is wanted."""
        wanted = None if torch.compiler.is_compiling() else _WANTED.get()
        streams = self.streams + len(self.ends)
        if wanted is None or args or kwargs or x.shape[:-1] != (streams * wanted.shape[0], wanted.shape[1]):
            whole: Tensor = self.mlp(x, *args, **kwargs)
            return whole
        rows = len(wanted)
        going, *ending = torch.split(x, [rows * self.streams, *[rows] * len(self.ends)])
        parts = [] if self.going is None else [self.going(going)]
        return torch.cat([*parts, *(_at(mlp, part, wanted) for mlp, part in zip(self.ends, ending, strict=True))])


def _at(mlp: nn.Module, x: Tensor, wanted: Tensor) -> Tensor:
    """Return ``mlp`` of x [B, T, H] at the wanted positions [B, T], zeros elsewhere."""
    wanted = wanted.to(x.device)
    few = x[wanted][None]  # [1, N, H]
    found = mlp(few)
    if not isinstance(found, Tensor) or found.shape[:-1] != few.shape[:-1]:
        raise TypeError(f"an MLP returned {type(found).__name__}; expected a tensor with one row for each position")
    whole = found.new_zeros(*x.shape[:-1], found.shape[-1])
    whole[wanted] = found[0]
    return whole


def ended(block: nn.Module, ends: Sequence[nn.Module], going: nn.Module | None = None, streams: int = 0) -> nn.Module:
    """Return a view of a block of several streams in which some end; as it is where its MLP has no usual name.

    Args:
        block: over the rows of all streams.
        ends: the same block, over the rows of each stream that ends there.
        going: the same block, over the rows of those that go on.
        streams: how many go on.
    """
    name = next((name for name in NAMES if isinstance(getattr(block, name, None), nn.Module)), "")
    if not name:
        return block
    mlps = [own.get_submodule(name) for own in ends]
    mlp = LastMLP(block.get_submodule(name), mlps, going.get_submodule(name) if going else None, streams)
    return replaced(block, {name: mlp})
