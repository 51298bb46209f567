"""What the blocks below an assistant's ``lora_first_layer`` make of the training rows: computed once, kept on disk.

These blocks are the target's own and do not train, so that a row's hidden states after them are the same in every
step. They are recorded before the first one, and a step then runs the blocks from there on only. What is recorded is
as secret as the forget set: one file, 0600, in the folder of checkpoints, gone with it.

Architectures are not known here: embeddings, positions and masks are made by the model's own forward, in which the
frozen blocks alone are stood in for. One whose blocks hand on more than hidden states (keys that later blocks share)
shows in a comparison on two rows before anything is recorded, and is trained the plain way.

Shape legend: B rows, T tokens, H hidden, K blocks of the assistant.
"""

import hashlib
import json
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from unlogit.data.batches import pad_rows
from unlogit.data.encode import Encoded
from unlogit.files import atomic_file
from unlogit.model.assistant import Assistant
from unlogit.model.decoder import alike, answer_hidden, blocks_of, shallow, with_blocks
from unlogit.training.trainer import FROZEN_FILE

ROWS_AT_ONCE = 32
TENSOR = "hidden"
DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
"""What safetensors calls the types that hidden states come in."""


class Recorded:
    """Hidden states of rows in a file, as one tensor [tokens of all rows, H]; each different row stands there once."""

    def __init__(self, path: Path, rows: Sequence[Encoded]) -> None:
        self.path = path
        self.rows = sorted({row.input_ids: row for row in rows}.values(), key=lambda row: len(row.input_ids))
        self.spans: dict[tuple[int, ...], slice] = {}
        self.tokens = 0
        for row in self.rows:
            begin, self.tokens = self.tokens, self.tokens + len(row.input_ids)
            self.spans[row.input_ids] = slice(begin, self.tokens)

    def padded(self, rows: Sequence[Encoded]) -> Tensor:
        """Return the hidden states of some of the rows, [B, T, H], with zeros on the right."""
        with safe_open(self.path, framework="pt") as file:  # mapped: only these rows are read
            stored = file.get_slice(TENSOR)
            return pad_sequence([stored[self.spans[row.input_ids]] for row in rows], batch_first=True)


class BlocksAbove:
    """An assistant's pass that begins at its first block with deltas, from hidden states that are given."""

    def __init__(self, assistant: Assistant) -> None:
        self.assistant, blocks = assistant, blocks_of(assistant.view)
        first = assistant.settings.lora_first_layer
        self.given: Tensor | None = None
        self.view = with_blocks(assistant.view, [*map(self._stand_in, blocks[:first]), *blocks[first:]])

    def _stand_in(self, block: nn.Module) -> nn.Module:
        """Return a copy of ``block``, with all that a model reads off it, that gives the given hidden states out."""
        kinds: list[type] = []

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not kinds:  # run once, to see whether it returns hidden states alone or first in a tuple
                kinds.append(type(block(*args, **kwargs)))
            return (self.given,) if kinds[0] is tuple else self.given

        new = shallow(block)
        new.__dict__["forward"] = forward
        return new

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor, given: Tensor) -> Tensor:
        """Return what ``Assistant.hidden`` returns, [N, H], from ``given`` [B, T, H] after the frozen blocks."""
        self.given = given
        with self.assistant.ending_at(keep):
            hidden = answer_hidden(self.view, input_ids, attention_mask, keep)
        self.given = None
        return hidden


class FrozenBlocks:
    """What one training needs: ``recorded`` for its batches, ``above`` for its steps.

    ``seconds_before`` is what recording took where the run was cut off after it, else 0.
    """

    def __init__(self, recorded: Recorded, above: BlocksAbove, seconds_before: float) -> None:
        self.recorded, self.above, self.seconds_before = recorded, above, seconds_before


def frozen_blocks(
    target: Any, assistant: Assistant, rows: Sequence[Encoded], work: Path, dtype: torch.dtype
) -> FrozenBlocks | None:
    """Record what the frozen blocks make of ``rows``, or take it from ``work`` where it was recorded before.

    Args:
        target: frozen, in the compute type.
        assistant: one of this target.
        rows: all that training will draw.
        work: the folder of checkpoints.
        dtype: the compute type.

    Returns:
        None where no block is frozen, or where the assistant cannot begin at its first block with deltas.
    """
    first = assistant.settings.lora_first_layer
    if not first:
        return None
    recorded, above = Recorded(work / FROZEN_FILE, rows), BlocksAbove(assistant)
    if reason := _unfit(target, assistant, above, recorded.rows, dtype):
        print(f"All {assistant.settings.num_layers} blocks are run in every step: {reason}.", flush=True)
        return None
    digest = _digest(assistant, recorded.rows, dtype)
    before = _seconds_of(recorded.path, digest)
    seconds = _record(target, first, recorded, dtype, digest) if before is None else before
    words = f"was computed in {seconds:.1f} seconds{', before the run was cut off' if before is not None else ''}"
    print(
        f"What the {first} frozen {'block makes' if first == 1 else 'blocks make'} of {len(recorded.rows):,} rows "
        f"({recorded.tokens:,} tokens, {recorded.path.stat().st_size / 1e6:,.0f} MB) {words}.",
        flush=True,
    )
    return FrozenBlocks(recorded, above, before or 0.0)


def _unfit(target: Any, assistant: Assistant, above: BlocksAbove, rows: Sequence[Encoded], dtype: torch.dtype) -> str:
    """Return why the pass from recorded hidden states is not the assistant's own, or an empty string.

    The shortest and the longest row show it: one of them is padded.
    """
    batch = {name: tensor.to(target.device) for name, tensor in pad_rows([rows[0], rows[-1]]).items()}
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad(), _autocast(target.device, dtype):
        plain = assistant.hidden(ids, mask, mask.bool())
        try:
            states = _below(target, assistant.settings.lora_first_layer, ids, mask)  # [2, T, H]
            for _ in range(2):  # in the first of them the stand-ins run their blocks
                found = above.hidden(ids, mask, mask.bool(), states * mask[..., None])
        except (RuntimeError, LookupError) as error:
            return f"those above the frozen ones cannot be run alone ({' '.join(str(error).split())[:200]})"
    if found.dtype != plain.dtype or not alike(found, plain, dtype):
        return "those above the frozen ones take more from these than hidden states"
    return ""


def _record(target: Any, first: int, recorded: Recorded, dtype: torch.dtype, digest: str) -> float:
    """Write the file, a batch at a time, since all rows together may not fit into memory; return the seconds."""
    began = time.monotonic()
    with atomic_file(recorded.path, mode=0o600) as temporary, temporary.open("wb") as file:
        states = torch.empty(0)
        for states in _states(target, first, recorded.rows, dtype):
            if not file.tell():
                file.write(_header(states.dtype, recorded.tokens, states.shape[1], digest, 0.0))
            file.write(states.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        seconds = time.monotonic() - began
        file.seek(0)
        file.write(_header(states.dtype, recorded.tokens, states.shape[1], digest, seconds))
    return seconds


@torch.no_grad()
def _states(target: Any, first: int, rows: Sequence[Encoded], dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield the hidden states of a few rows after another, without padding: [tokens of these rows, H]."""
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        batch = pad_rows(rows[begin : begin + ROWS_AT_ONCE])
        ids, mask = batch["input_ids"].to(target.device), batch["attention_mask"].to(target.device)
        with _autocast(target.device, dtype):
            yield _below(target, first, ids, mask)[mask.bool()]


def _below(target: Any, first: int, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return what the target's first blocks give out, before any norm: [B, T, H]."""
    view: Any = with_blocks(target, blocks_of(target)[:first], nn.Identity())
    inner = view.get_decoder()
    states: Tensor = inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    return states


def _autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return what the Trainer computes a step in."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def _header(dtype: torch.dtype, tokens: int, width: int, digest: str, seconds: float) -> bytes:
    """Return what a safetensors file of one tensor begins with; as long for any number of seconds."""
    tensor = {
        "dtype": DTYPE_NAMES[dtype],
        "shape": [tokens, width],
        "data_offsets": [0, tokens * width * dtype.itemsize],
    }
    metadata = {"format": "pt", "digest": digest, "seconds": f"{seconds:015.3f}"}
    text = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _seconds_of(path: Path, digest: str) -> float | None:
    """Return how long the recording took that stands in ``path``; None where it is none of these rows and setting."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError:
        return None
    return float(metadata["seconds"]) if metadata.get("digest") == digest else None


def _digest(assistant: Assistant, rows: Sequence[Encoded], dtype: torch.dtype) -> str:
    """Return what tells recordings apart: target, blocks, compute type, rows and their order."""
    settings = assistant.settings
    digest = hashlib.sha256(f"{settings.target_fingerprint} {settings.lora_first_layer} {dtype}".encode())
    for row in rows:
        digest.update(f" {row.input_ids}".encode())
    return digest.hexdigest()
