"""Where to compute and in which type: asked of the machine, said aloud, never assumed.

bfloat16 is about twice as fast as float32 on CPUs with native instructions for it and several times slower on those
without; float16 is slow on every CPU and not offered.
"""

import os
import time
from functools import cache

import torch

SIZE = 256
"""Rows and columns of the matrices that are timed: large enough to tell, and milliseconds where bfloat16 is slow."""

FASTER = 0.9
"""bfloat16 is taken when its matrix product takes less than this share of float32's time."""


def world_size() -> int:
    """Return the number of processes that train together, as torchrun and accelerate launch say it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def on_main_process() -> bool:
    """Whether this process writes and prints; of several that train together only the first does."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_all() -> None:
    """Wait until every process that trains along has come this far."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def join_processes() -> None:
    """Let the processes that were started to train together know one another; each computes on a GPU of its own."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState(**({} if torch.cuda.is_available() else {"cpu": True, "backend": "gloo"}))


def of_main_process(value: float) -> float:
    """Return the first process's value in every process."""
    values = [value]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(values)
    return values[0]


def choose_device() -> torch.device:
    """Return the CUDA or MPS device if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_dtype(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    """Return the compute type and the reason for it, a clause to be printed.

    Args:
        wanted: ``float32``, ``bfloat16`` or ``auto``.
    """
    if wanted != "auto":
        return getattr(torch, wanted), "as set"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "the GPU computes it natively"
        return torch.float32, "the GPU has no native bfloat16"
    if device.type != "cpu":
        return torch.float32, f"the safe choice on {device.type}"
    ratio = of_main_process(_seconds(torch.bfloat16) / _seconds(torch.float32))
    faster = ratio < FASTER
    reason = f"on this CPU a bfloat16 product takes {ratio:.2g} times as long as a float32 one"
    return (torch.bfloat16 if faster else torch.float32), reason


def cast_weights(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast a model's weights in place, as loading it in this type does: buffers keep theirs.

    ``Module.to`` rounds the buffers, too, the frequencies of rotary positions among them.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


@cache
def _seconds(dtype: torch.dtype) -> float:
    a = torch.ones(SIZE, SIZE, dtype=dtype)
    b = torch.ones(SIZE, SIZE, dtype=dtype)
    a @ b  # the first call prepares kernels
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begin)
    return best
