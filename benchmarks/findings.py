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
    limit: float | None = None
    """What it is to keep to; None where it is shown for comparison."""
    at_least: bool = False
    """Whether the limit is a floor; else it is a ceiling."""
    best: float | None = None
    """What arithmetic or memory traffic alone would allow; None where that is not known."""
    seconds: float | None = None
    """How long one repetition took, median."""

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def compared(benchmark: str, case: str, first: Sequence[float], second: Sequence[float], **limits: Any) -> Finding:
    """Return the ratio of the repetitions of two ways, and how long the first takes; ``limits`` are fields by name."""
    found = ratio(first, second)
    return Finding(
        benchmark, case, found.median, found.low, found.high, **{"seconds": Spread.of(first).median, **limits}
    )


def counted(benchmark: str, case: str, value: float, **limits: Any) -> Finding:
    """Return a figure that is counted once, without repetitions."""
    return Finding(benchmark, case, value, value, value, **limits)


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
    known = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in reversed(lines)}
    fast = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in known.get("flags", "").split()]
    return " with ".join([known.get("model name", platform.machine()), *fast])


def write_findings(path: Path, machine: dict[str, Any], setting: dict[str, Any], findings: Sequence[Finding]) -> None:
    """Write everything, whole or not at all."""
    rows = [asdict(finding) | {"holds": finding.holds} for finding in findings]
    write_json(path, {"format": FORMAT, "machine": machine, "setting": setting, "findings": rows})


def read_findings(path: Path) -> tuple[dict[str, Any], dict[str, Any], list[Finding]]:
    """Read machine, setting and findings.

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
        raise DataError(f"{path} holds no benchmark's results; expected what `unlogit bench` wrote") from error


def conditions(machine: dict[str, Any], setting: dict[str, Any]) -> str:
    """Say in one line on what was measured."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    return (
        f"{machine['device']}, {threads}, {setting['dtype']}, "
        f"{setting['layers']} blocks of width {setting['hidden']}; {versions}"
    )


COLUMNS = ("benchmark", "case", "measured", "quartiles", "limit", "kept", "best possible", "seconds")


def cells(finding: Finding) -> tuple[str, ...]:
    """The words of a row of the table."""
    sign = "≥" if finding.at_least else "≤"
    return (
        finding.benchmark,
        finding.case,
        _words(finding.value, finding.unit),
        "–" if finding.low == finding.high else f"{_number(finding.low)}–{_number(finding.high)}",
        "–" if finding.limit is None else f"{sign} {_words(finding.limit, finding.unit)}",
        {None: "–", True: "yes", False: "no"}[finding.holds],
        "–" if finding.best is None else _words(finding.best, finding.unit),
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


def _words(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".strip()


def findings_table(findings: Sequence[Finding], title: str) -> Any:
    """Return a rich table, a section for each benchmark."""
    from rich.table import Table

    table = Table(title=title, caption="× is a ratio: the first named ÷ the second.")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("benchmark", "case") else "right")
    before = ""
    for finding in findings:
        if before and finding.benchmark != before:
            table.add_section()
        table.add_row(*cells(finding))
        before = finding.benchmark
    return table


def markdown(findings: Sequence[Finding]) -> str:
    """Return the table in Markdown."""
    lines = [COLUMNS, ("---", "---", *["---:"] * (len(COLUMNS) - 2)), *(cells(finding) for finding in findings)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
