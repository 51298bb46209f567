"""``unlogit compare``: methods beside each other on one split, in one table, one plot and one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlogit.errors import ConfigError, UnlogitError, nearest
from unlogit.settings.flags import new_parser
from unlogit.terminal import warn

if TYPE_CHECKING:
    from unlogit.compare.results import ComparisonResults


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "compare",
        "CONFIG [options]",
        "Train and evaluate a list of methods on one split and print one table, target and retain model on top. Each "
        "method is an ordinary run in OUTPUT/METHOD/seed-N; what has ended is never done again, what was cut off "
        "goes on. Writes OUTPUT/compare.json, compare.csv and compare.png (and aggregate.png, where there is an "
        "aggregate). Given a compare.json, it shows that again.",
        (
            "configs/compare_tofu_forget01_tiny.yaml",
            "configs/compare_tofu_forget01_tiny.yaml --jobs 2 --only uld npo_kl",
            "results/compare_tofu_forget01_tiny.json --markdown",
        ),
    )
    command.add_argument(
        "config", metavar="CONFIG", type=str, help="YAML file with `methods:`, or an earlier compare.json."
    )
    command.add_argument("--output", type=str, help="Folder to write, in place of the file's.")
    command.add_argument("--only", type=str, nargs="+", help="Run only these methods; others with results are shown.")
    command.add_argument("--again", type=str, nargs="+", help="Train these methods anew.")
    command.add_argument(
        "--jobs", type=int, default=1, help="Methods that run at once, each with its share of threads."
    )
    command.add_argument("--markdown", action="store_true", help="Print the table as Markdown.")
    return command


def run(given: dict[str, Any]) -> None:
    """Compare, or show what was compared."""
    from unlogit.compare.results import ComparisonResults

    markdown = given.get("markdown", False)
    if given["config"].endswith(".json"):
        show(ComparisonResults.read(Path(given["config"])), markdown)
        return
    from unlogit.compare.comparison import check_comparison, read_comparison, run_methods, score_reference
    from unlogit.compare.gather import gather
    from unlogit.report.comparison_plot import save_plots

    comparison = read_comparison(Path(given["config"]), given.get("output") or "")
    names = [method.name for method in comparison.methods]
    only, again, jobs = given.get("only") or names, given.get("again") or [], given.get("jobs", 1)
    _check_names([*only, *again], names, jobs)
    check_comparison(comparison)
    score_reference(comparison, again="reference" in again)
    problems = run_methods(comparison, only, again, jobs, _told)
    comparison_results = gather(comparison)
    comparison_results.write(comparison.folder / "compare.json")
    comparison_results.write_csv(comparison.folder / "compare.csv")
    no_plot = save_plots(comparison_results, comparison.folder)
    show(comparison_results, markdown)
    files = "compare.json and compare.csv" if no_plot else "compare.json, compare.csv and compare.png"
    print(f"The whole of it is in {comparison.folder}/{files}.")
    if no_plot:
        warn(no_plot)
    if outdated := comparison.outdated():
        warn(
            f"not shown, since their results were made with other settings: {', '.join(outdated)}; give --again "
            f"{' '.join(outdated)}"
        )
    if problems:
        raise UnlogitError(f"{len(problems)} run(s) failed: {'; '.join(problems)}; expected all to end: fix and repeat")


def _check_names(given: Sequence[str], names: Sequence[str], jobs: int) -> None:
    if unknown := [name for name in given if name not in names and name != "reference"]:
        near = nearest(unknown[0], list(names))
        raise ConfigError(f"there is no method {unknown[0]!r}{near}; expected some of {', '.join(names)}: name those")
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; expected 1 or more: change it")


def _told(name: str, seconds: float, problem: str) -> None:
    print(f"{name}: {f'failed, {problem}' if problem else 'done'} ({seconds:.0f} s)", flush=True)


def show(found: "ComparisonResults", markdown: bool) -> None:
    """Print the table."""
    from unlogit.report.compare_table import comparison_markdown, comparison_table
    from unlogit.report.print_table import print_table

    if markdown:
        print(comparison_markdown(found))
    else:
        print_table(comparison_table(found))
