"""``python -m benchmarks``: speed and memory side by side, on this machine. Run it in the repository's root."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS
from benchmarks.options import BenchOptions
from unlogit.errors import ConfigError, UnlogitError, nearest

PROGRAM = "python -m benchmarks"
EXAMPLES = (
    "",
    "decode prefill",
    "step --layers 8 --hidden 512 --vocabularies 32768",
    "--show results/bench_cpu.json",
)
EXIT_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default that of the process) and return the exit code."""
    from unlogit.settings.flags import parse_flags

    try:
        run(parse_flags(parser(), list(sys.argv[1:] if arguments is None else arguments)))
    except UnlogitError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except SystemExit as exit_:  # --help
        return int(exit_.code or 0)
    return 0


def parser() -> Any:
    """What the command line takes."""
    from jsonargparse import ArgumentParser

    from unlogit.settings.flags import HelpFormatter, add_options

    names = "; ".join(f"{name}: {what}" for name, what in BENCHMARKS.items())
    flags = ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [NAME …] [options]",
        description=f"Measure speed and memory on this machine, on models with random weights; without names, "
        f"everything. {names}.",
        epilog="\n".join(["examples:", *(f"  {PROGRAM} {example}".rstrip() for example in EXAMPLES)]),
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    flags.add_argument("names", metavar="NAME", type=str, nargs="*", default=[], help="What to measure, see above.")
    flags.add_argument("--output", type=str, default="bench.json", help="File to write the figures into.")
    flags.add_argument("--show", type=str, help="Measure nothing, print the table of such a file.")
    flags.add_argument("--markdown", action="store_true", help="Print the table in Markdown.")
    add_options(flags, BenchOptions)
    return flags


def run(values: Mapping[str, Any]) -> None:
    """Measure, print the table, write the file."""
    from dataclasses import fields

    from benchmarks.findings import machine_of, read_findings, write_findings

    markdown = values.get("markdown", False)
    if values.get("show"):
        show(*read_findings(Path(values["show"])), markdown)
        return
    names = values.get("names") or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise ConfigError(
            f"unknown benchmark {unknown[0]!r}{nearest(unknown[0], list(BENCHMARKS))}; expected some of "
            f"{', '.join(BENCHMARKS)}"
        )
    option_names = {field.name for field in fields(BenchOptions)}
    options = BenchOptions(**{name: value for name, value in values.items() if name in option_names})
    check_bench(options)
    from benchmarks.findings import conditions
    from benchmarks.models import described, setting_for

    setting, reason = setting_for(options)
    machine, shape = machine_of(setting.device), described(setting)
    print(f"{conditions(machine, shape)}: {setting.dtype_name}, since {reason}.", flush=True)
    output = Path(values.get("output", "bench.json"))
    findings = []
    for name in names:
        for finding in measured(name, setting):
            findings.append(finding)
            write_findings(output, machine, shape, findings)
    show(machine, shape, findings, markdown)
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


def measured(name: str, setting: Any) -> Iterator[Any]:
    """Run one benchmark, give its findings as they come, and say how long it took."""
    import time
    from importlib import import_module

    print(f"{name}: {BENCHMARKS[name]} …", end=" ", flush=True)
    start = time.monotonic()
    yield from import_module(f"benchmarks.{name}").measure(setting)
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def show(machine: dict[str, Any], shape: dict[str, Any], findings: Any, markdown: bool) -> None:
    """Print the table under the conditions that it holds for."""
    from benchmarks import findings as tables
    from unlogit.terminal import console

    title = tables.conditions(machine, shape)
    if markdown:
        print(f"{title}\n\n{tables.markdown(findings)}")
    else:
        console().print(tables.findings_table(findings, title))


if __name__ == "__main__":
    sys.exit(main())
