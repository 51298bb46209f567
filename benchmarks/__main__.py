"""``unlogit bench``: speed and memory side by side, on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS
from unlogit.errors import ConfigError, nearest
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import BenchOptions
from unlogit.terminal import console


def parser() -> Any:
    """What the command line takes."""
    names = "; ".join(f"{name}: {what}" for name, what in BENCHMARKS.items())
    new = new_parser(
        "bench",
        "[NAME …] [options]",
        f"Measure speed and memory on this machine, on models with random weights; without names, everything. {names}.",
        (
            "",
            "decode prefill",
            "step --layers 8 --hidden 512 --vocabularies 32768",
            "--show results/bench_cpu.json",
        ),
    )
    new.add_argument("names", metavar="NAME", type=str, nargs="*", default=[], help="What to measure, see above.")
    new.add_argument("--output", type=str, default="bench.json", help="File to write what was found into.")
    new.add_argument("--show", type=str, help="Measure nothing, print the table of such a file.")
    new.add_argument("--markdown", action="store_true", help="Print the table in Markdown.")
    add_options(new, BenchOptions)
    return new


def run(given: dict[str, Any]) -> None:
    """Measure, print the table, write the file."""
    from dataclasses import asdict, fields

    from benchmarks.findings import conditions, machine_of, read_findings, write_findings

    if given.get("show"):
        machine, shape, findings = read_findings(Path(given["show"]))
        _print(findings, machine, shape, given)
        return
    chosen = given.get("names") or list(BENCHMARKS)
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        raise ConfigError(
            f"unknown benchmark {unknown[0]!r}{nearest(unknown[0], list(BENCHMARKS))}; expected some of "
            f"{', '.join(BENCHMARKS)}"
        )
    names = {field.name for field in fields(BenchOptions)}
    options = BenchOptions(**{name: value for name, value in given.items() if name in names})
    check_bench(options)
    from benchmarks.models import setting_for

    setting, reason = setting_for(options)
    machine = machine_of(setting.device)
    shape = asdict(options) | {"dtype": setting.dtype_name}
    print(f"{conditions(machine, shape)}: {reason}.", flush=True)
    output = Path(given.get("output", "bench.json"))
    findings = []
    for name in chosen:
        for finding in _measured(name, setting):
            findings.append(finding)
            write_findings(output, machine, shape, findings)
    _print(findings, machine, shape, given)
    print(f"All of it is in {output}.")


def check_bench(options: BenchOptions) -> None:
    """Refuse a model that cannot be made.

    Raises:
        ConfigError: a number is out of range.
    """
    problems = (
        [f"hidden is {options.hidden}; expected a multiple of 64"] if options.hidden % 64 or not options.hidden else []
    )
    for name in ("layers", "hidden", "repetitions"):
        if getattr(options, name) < 1:
            problems.append(f"{name} is {getattr(options, name)}; expected 1 or more")
    if not options.vocabularies or min(options.vocabularies) < 1024:
        problems.append(f"vocabularies is {list(options.vocabularies)}; expected sizes of 1024 or more")
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")


def _measured(name: str, setting: Any) -> Iterator[Any]:
    """Run one benchmark, give its findings as they come, and say how long it took."""
    import time
    from importlib import import_module

    print(f"{name}: {BENCHMARKS[name]} …", end=" ", flush=True)
    began = time.monotonic()
    yield from import_module(f"benchmarks.{name}").measure(setting)
    print(f"{time.monotonic() - began:.0f} s", flush=True)


def _print(findings: Any, machine: dict[str, Any], shape: dict[str, Any], given: dict[str, Any]) -> None:
    from benchmarks.findings import conditions, findings_table, markdown

    words = conditions(machine, shape)
    if given.get("markdown"):
        print(f"{words}\n\n{markdown(findings)}")
    else:
        console().print(findings_table(findings, words))
