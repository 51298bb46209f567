"""How one forward of the unlearned model runs: which views, for which streams, and what their heads make of it.

A *stream* is the target (0) or a branch (1, 2, …). A ``ForwardPlan`` runs every stream once, in one pass over several
streams or in one pass each; all plans give the same logits. Norms, masks and heads are the views' own business, and
the formula that combines the streams is ``logit_difference``.

Shape legend: B rows of one stream, S streams of a pass, T tokens, H hidden, V vocabulary, N positions.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from unlogit.model.cache import joined
from unlogit.model.decoder import answer_logits, head_view, view_logits

CHUNK_LOGITS = 2**21
"""Numbers of one stream's logits that are held at once, where there are more positions than that."""


class ViewPass(NamedTuple):
    """One run of one view."""

    view: Any
    """The target or a view of it."""
    streams: list[int]
    """The streams whose rows it takes, block after block."""
    head: Any
    """The ``head_view`` of it."""

    @classmethod
    def of(cls, view: Any, streams: list[int]) -> "ViewPass":
        """Return a pass of ``view``."""
        return cls(view, streams, head_view(view))


class ForwardPlan:
    """The passes that together run every stream once; the first one runs the target."""

    def __init__(self, passes: Sequence[ViewPass]) -> None:
        self.passes = list(passes)

    def hidden(self, inputs: dict[str, Any], caches: Sequence[Cache] | None, cache_argument: str) -> list[Tensor]:
        """Run the passes and return what the head of each reads, [S · B, T, H].

        Args:
            inputs: keyword arguments of the target's inner model for the rows of one stream.
            caches: the cache of each stream, or None to run without.
            cache_argument: what the inner model calls its cache.
        """
        rows = len(inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"])
        states = []
        for view, streams, _ in self.passes:
            cache_inputs: dict[str, Any] = {"use_cache": False}
            if caches is not None:
                views = [caches[stream] for stream in streams]
                cache_inputs = {"use_cache": True, cache_argument: views[0] if len(views) == 1 else joined(views)}
            pass_inputs = inputs if len(streams) == 1 else repeated(inputs, rows, len(streams))
            states.append(view.get_decoder()(**pass_inputs, **cache_inputs, return_dict=True).last_hidden_state)
        return states

    def logits(self, hidden: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits [N, V] of each stream, of the hidden states [S, N, H] of each pass."""
        by_stream: dict[int, Tensor] = {}
        for (_, streams, head), states in zip(self.passes, hidden, strict=True):
            logits = view_logits(head, states.flatten(0, 1))  # [S, N, H] → [S·N, V]
            by_stream.update(zip(streams, logits.chunk(len(streams)), strict=True))  # S of [N, V]
        return _in_order(by_stream)

    def target_logits(self, hidden: Sequence[Tensor]) -> Tensor:
        """Return the logits [N, V] of the target alone, where it has a pass to itself."""
        return ForwardPlan(self.passes[:1]).logits(hidden[:1])[0]

    def logits_at(
        self, input_ids: Tensor, attention_mask: Tensor | None, keep: Tensor, position_ids: Tensor | None
    ) -> list[Tensor]:
        """Return the logits [N, V] of each stream at the N positions where ``keep`` [B, T] is True."""
        by_stream: dict[int, Tensor] = {}
        for view, streams, _ in self.passes:
            rows = [
                repeated(tensor, len(input_ids), len(streams))  # [B, …] → [S·B, …]
                for tensor in (input_ids, attention_mask, keep, position_ids)
            ]
            logits = answer_logits(view, *rows)  # [S·N, V]
            by_stream.update(zip(streams, logits.tensor_split(len(streams)), strict=True))  # S of [N, V]
        return _in_order(by_stream)

    def eval(self) -> None:
        """Put the views into evaluation mode: they are no submodules of the model."""
        for view, _, head in self.passes:
            view.eval()
            head.eval()


def per_branch_plan(target: nn.Module, views: Sequence[nn.Module]) -> ForwardPlan:
    """Return the plan of one pass for the target and one for each branch's view."""
    return ForwardPlan([ViewPass.of(view, [stream]) for stream, view in enumerate([target, *views])])


def in_chunks(
    function: Callable[[Sequence[Tensor]], Tensor], hidden: Sequence[Tensor], vocabulary: int, at_once: bool
) -> Tensor:
    """Return ``function`` of hidden states, a chunk of positions at a time: nothing but the result is as large as it.

    Args:
        function: hidden states [S, n, H] of each pass → logits [n, V].
        hidden: [S, N, H] of each pass.
        vocabulary: V.
        at_once: all positions in one chunk, for a head whose weights would be loaded again for every chunk.

    Returns:
        Logits [N, V].
    """
    positions = hidden[0].shape[1]
    size = positions if at_once else max(1, CHUNK_LOGITS // vocabulary)
    first = function([states[:, :size] for states in hidden])
    if size >= positions:
        return first
    logits = first.new_empty(positions, first.shape[-1])  # [N, V]
    logits[:size] = first
    for i in range(size, positions, size):
        logits[i : i + size] = function([states[:, i : i + size] for states in hidden])
    return logits


def repeated(value: Any, rows: int, times: int) -> Any:
    """Repeat every tensor in ``value`` that has ``rows`` rows, block after block; all else as it is."""
    if isinstance(value, Tensor):
        return torch.cat([value] * times) if value.ndim >= 2 and value.shape[0] == rows else value
    if isinstance(value, dict):
        return {key: repeated(item, rows, times) for key, item in value.items()}
    return value


def _in_order(by_stream: dict[int, Tensor]) -> list[Tensor]:
    return [by_stream[stream] for stream in range(len(by_stream))]


def moved(value: Any, device: torch.device) -> Any:
    """Return a tensor on a device; anything else, and all on a device without memory, as it is."""
    return value.to(device) if isinstance(value, Tensor) and device.type != "meta" else value
