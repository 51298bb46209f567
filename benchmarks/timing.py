"""Seconds and bytes: repetitions in turn, medians and quartiles, the most memory that something takes."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unlogit.errors import ModelError
from unlogit.training.trainer import peak_memory_bytes

Way = Callable[[], object]
"""One repetition of what is timed."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def interleaved(ways: Mapping[str, Way], repetitions: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of each way's repetitions; the ways take turns, so that a busy moment hits them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():  # kernels are prepared and memory is fetched the first time
        run()
    for turn in range(repetitions):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            synchronise(device)
            start = time.perf_counter()
            ways[name]()
            synchronise(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def ratio(first: Sequence[float], second: Sequence[float]) -> Spread:
    """Of the repetitions, one of the first ÷ that of the second in the same turn."""
    return Spread.of([a / b for a, b in zip(first, second, strict=True)])


@dataclass
class Peak:
    """Bytes in use beyond those at the start, at the most."""

    bytes: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure what is in use at the most while this runs, beyond what is in use at its start.

    On a GPU what PyTorch holds there; else the memory of this process, which must not have used more before: run it in
    a process of its own (``alone``), or where the system can forget the peak so far (Linux).
    """
    peak = Peak(device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        at_start = torch.cuda.memory_allocated(device)
    else:
        at_start = _forget_peak()
    yield peak
    most = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _bytes_of_process("VmHWM")
    peak.bytes = max(0, most - at_start)


def _forget_peak() -> int:
    """Let the system forget the peak so far, where it can, and return the bytes in use now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _bytes_of_process("VmRSS")


def _bytes_of_process(name: str) -> int:
    """Bytes of this process: ``VmRSS`` in use, ``VmHWM`` the peak. Where the system does not say, the peak for both."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))
    except (OSError, StopIteration):
        return peak_memory_bytes(torch.device("cpu"))


def alone(function: str, **values: Any) -> Any:
    """Call ``module:function`` of this package's benchmarks in a process of its own, and return what it returns.

    Values and result are JSON. Memory that other measurements left behind does not count there.

    Raises:
        ModelError: the process failed; says the last line of what it wrote.
    """
    command = [sys.executable, "-m", "benchmarks.alone", function, json.dumps(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[1])
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ModelError(
            f"a measurement in a process of its own failed ({lines[-1][:200]}); expected it to run: see why"
        )
    return json.loads(done.stdout.splitlines()[-1])
