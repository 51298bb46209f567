"""What a benchmark found, as a table and as JSON."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.timing import Spread, ratio
from unlogit.errors import DataError
from unlogit.files import write_json

FORMAT = "unlogit bench 1"


@dataclass(frozen=True)
class Finding:
    """One figure: the median of what was measured, with its quartiles."""

    benchmark: str
    case: str
    """What was compared, and on what."""
    value: float
    low: float
    """First quartile of the repetitions; ``value`` where there was one."""
    high: float
    """Third quartile."""
    unit: str = "×"
    seconds: float | None = None
    """How long one repetition took, median."""


def compared(benchmark: str, case: str, first: Sequence[float], second: Sequence[float]) -> Finding:
    """Return the ratio of the repetitions of two ways, and how long the first takes."""
    spread = ratio(first, second)
    return Finding(benchmark, case, spread.median, spread.low, spread.high, seconds=Spread.of(first).median)


def counted(benchmark: str, case: str, value: float, unit: str = "×", seconds: float | None = None) -> Finding:
    """Return a figure that is counted once, without repetitions."""
    return Finding(benchmark, case, value, value, value, unit, seconds)


def machine_of(device: Any) -> dict[str, Any]:
    """Say what was measured on: processor or GPU, threads, versions."""
    import torch

    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else _processor(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
    }


def _processor() -> str:
    """The processor's name, with what makes bfloat16 fast on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields_of_cpu = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in reversed(lines)}
    fast = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in fields_of_cpu.get("flags", "").split()]
    return " with ".join([fields_of_cpu.get("model name", platform.machine()), *fast])


def write_findings(path: Path, machine: dict[str, Any], setting: dict[str, Any], findings: Sequence[Finding]) -> None:
    """Write everything, whole or not at all."""
    rows = [asdict(finding) for finding in findings]
    write_json(path, {"format": FORMAT, "machine": machine, "setting": setting, "findings": rows})


def read_findings(path: Path) -> tuple[dict[str, Any], dict[str, Any], list[Finding]]:
    """Read machine, setting and findings; what earlier versions wrote beside them (limits) is left out.

    Raises:
        DataError: the file is not what ``write_findings`` writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError
        names = {field.name for field in fields(Finding)}
        rows = [Finding(**{key: value for key, value in row.items() if key in names}) for row in content["findings"]]
        return content["machine"], content["setting"], rows
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no benchmark's results; expected what `python -m benchmarks` wrote") from error


def conditions(machine: dict[str, Any], setting: dict[str, Any]) -> str:
    """Say in one line on what was measured."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    alike = [setting["dtype"]]
    if "attention" in setting:  # files of before it was recorded
        alike += [f"{setting['attention']} attention", f"{setting['cache']} on both sides"]
    return (
        f"{machine['device']}, {threads}, {', '.join(alike)}, "
        f"{setting['layers']} blocks of width {setting['hidden']}; {versions}"
    )


COLUMNS = ("benchmark", "case", "measured", "quartiles", "seconds")


def cells(finding: Finding) -> tuple[str, ...]:
    """The words of a row of the table."""
    return (
        finding.benchmark,
        finding.case,
        f"{_number(finding.value)} {finding.unit}",
        "–" if finding.low == finding.high else f"{_number(finding.low)}–{_number(finding.high)}",
        "–" if finding.seconds is None else f"{finding.seconds:.3g}",
    )


def _number(value: float) -> str:
    return (
        f"{value:.0f}"
        if abs(value) >= 100
        else f"{value:.3g}"
        if abs(value) < 1 or abs(value) >= 10
        else f"{value:.2f}"
    )


def findings_table(findings: Sequence[Finding], title: str) -> Any:
    """Return a rich table, a section for each benchmark."""
    from rich.table import Table

    table = Table(title=title, caption="× is a ratio: the first named ÷ the second.")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("benchmark", "case") else "right")
    for previous, finding in zip([None, *findings], findings, strict=False):
        if previous and finding.benchmark != previous.benchmark:
            table.add_section()
        table.add_row(*cells(finding))
    return table


def markdown(findings: Sequence[Finding]) -> str:
    """Return the table in Markdown."""
    lines = [COLUMNS, ("---", "---", *["---:"] * (len(COLUMNS) - 2)), *(cells(finding) for finding in findings)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
