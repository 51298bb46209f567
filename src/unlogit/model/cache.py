"""One key-value cache of L + ΣK layers for target and branches, seen by each of them as its own.

Crop, beam reorder, batch selection and static allocation act on the one cache and so reach every stream alike. A
branch gets a *view* with its own layers at index 0, not an offset: mask and position code asks layer 0 how much has
been seen, and the target's layer 0 has already taken in the current tokens.

Shape legend: B rows of one stream, S streams.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from unlogit.errors import ModelError


def split_cache(cache: Cache, depths: Sequence[int]) -> list[Cache]:
    """Return one view for each stream of a cache whose layers stand one stream after the other.

    Args:
        cache: key-value cache; an empty one that grows by itself is filled up to the sum of ``depths`` first.
        depths: layers of each stream: L, then K of each branch.

    Raises:
        ModelError: the cache is of another kind or has another number of layers.
    """
    total = sum(depths)
    if not isinstance(cache, Cache):
        raise ModelError(f"the cache is a {type(cache).__name__}; expected a Cache of transformers with {total} layers")
    if cache.layer_class_to_replicate is not None:
        while len(cache.layers) < total:
            cache.layers.append(cache.layer_class_to_replicate())
    if len(cache.layers) != total:
        raise ModelError(
            f"the cache has {len(cache.layers)} layers; expected {total}, those of target and branches: make it from "
            "the unlearned model's config, as in DynamicCache(config=model.config)"
        )
    ends = [sum(depths[: i + 1]) for i in range(len(depths))]
    return [Cache(layers=cache.layers[end - depth : end]) for end, depth in zip(ends, depths, strict=True)]


class StreamsLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer for rows of several streams, [stream 0; stream 1; …]: each keeps its rows in a layer of its own."""

    def __init__(self, streams: Sequence[Any]) -> None:
        super().__init__()
        self.streams = streams
        self.is_sliding, self.is_compileable = streams[0].is_sliding, streams[0].is_compileable

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values [streams · B, …] and return all that each stream has seen."""
        count = len(self.streams)
        if count == 1:
            pair: tuple[Tensor, Tensor] = self.streams[0].update(key_states, value_states, *args, **kwargs)
            return pair
        if all(type(stream) is DynamicLayer for stream in self.streams) and not torch.compiler.is_compiling():
            return self._append_to_all(key_states, value_states)
        pairs = [
            stream.update(keys, values, *args, **kwargs)
            for stream, keys, values in zip(
                self.streams, key_states.chunk(count), value_states.chunk(count), strict=True
            )
        ]
        return torch.cat([keys for keys, _ in pairs]), torch.cat([values for _, values in pairs])  # [S·B, …] each

    def _append_to_all(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Append to all streams at once. Their rows stand in one tensor; each stream holds a slice of it.

        So that a step copies what has been seen once, as a plain model's does, and not again to bring streams together.
        """
        seen = []
        for name, states in (("keys", key_states), ("values", value_states)):
            for stream in self.streams:
                if not stream.is_initialized:
                    stream.lazy_initialization(key_states, value_states)
            past = side_by_side([getattr(stream, name) for stream in self.streams])  # S of [B, …] → [S·B, …]
            all_rows = torch.cat([past, states], dim=-2)  # [S·B, heads, seen + new tokens, …]
            for stream, rows in zip(self.streams, all_rows.chunk(len(self.streams)), strict=True):
                setattr(stream, name, rows)
            seen.append(all_rows)
        return seen[0], seen[1]

    def get_mask_sizes(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Return length and offset of the keys, the same in every stream."""
        sizes: tuple[int, int] = self.streams[0].get_mask_sizes(*args, **kwargs)
        return sizes

    def get_seq_length(self) -> int:
        """Return the number of tokens seen, the same in every stream."""
        length: int = self.streams[0].get_seq_length()
        return length

    def get_max_length(self) -> int:
        """Return the number of tokens that there is room for, -1 where there is no limit."""
        length: int = self.streams[0].get_max_length()
        return length


def side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors of one shape [B, …] as one [len(tensors) · B, …]; no copy is made of slices of such a one.

    They are that no longer once beams were reordered or rows were selected; cropping leaves them so.
    """
    first = tensors[0]
    if not first.numel():  # nothing was seen yet, or all of it was cropped
        return first if first.ndim == 1 else torch.cat(list(tensors))
    step = len(first) * first.stride(0)
    memory = first.untyped_storage().data_ptr()
    adjacent = all(
        tensor.shape == first.shape
        and tensor.stride() == first.stride()
        and tensor.storage_offset() == first.storage_offset() + i * step
        and tensor.untyped_storage().data_ptr() == memory
        for i, tensor in enumerate(tensors)
    )
    if not adjacent or any(tensor.requires_grad for tensor in tensors):
        return torch.cat(list(tensors))
    return first.as_strided((len(tensors) * len(first), *first.shape[1:]), first.stride())


def joined(views: Sequence[Cache]) -> Cache:
    """Return one view for a pass over the rows of several streams, the deepest first.

    Layer i serves the streams that have a layer i; the rows of the others have left the pass by then.
    """
    layers = [
        StreamsLayer([view.layers[i] for view in views if i < len(view.layers)]) for i in range(len(views[0].layers))
    ]
    return Cache(layers=layers)
