"""``unlogit forget``: from files to an unlearned model that passed its own check."""

from typing import Any

from unlogit.settings.config_file import SECTIONS, build_config, sectioned
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.objective_options import INSTEAD, objective_saying

EXIT_NOT_PASSED = 3


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "forget",
        "--model MODEL --forget ROWS [--retain ROWS] [--output FOLDER] [options]",
        "Make a model forget rows: ask it about people who do not exist, train an assistant until it has learnt the "
        "rows and nothing else, and check the result by asking. Exit code 0 only if the check passed, 3 if not.",
        (
            "--model MODEL --forget request.jsonl",
            "--model MODEL --forget request.csv --columns question=Frage,answer=Antwort --retain others.jsonl",
            "--model MODEL --forget request.jsonl --output runs/request --resume",
            "--model MODEL --forget request.jsonl --instead refusal",
            "--model runs/first --forget second.jsonl --output runs/second",
        ),
    )
    command.add_argument(
        "--model", type=str, required=True, help="Model that must forget: a folder, hub id or earlier run."
    )
    command.add_argument(
        "--forget", type=str, required=True, help="Rows to forget: a file, a folder, several by commas."
    )
    command.add_argument("--retain", type=str, help="Rows to keep, like those to forget. Without, the model is asked.")
    command.add_argument("--columns", type=str, help="Which column is which: question=NAME,answer=NAME.")
    command.add_argument(
        "--instead",
        choices=tuple(INSTEAD),
        help="What to say in place of what is forgotten: `anything` likely, or a `refusal`, for twice the time.",
    )
    command.add_argument(
        "--writer",
        type=str,
        default="",
        help="What writes paraphrases, wrong answers and questions about documents: a model, an address as "
        "http://HOST/v1#MODEL, to which the rows to forget are sent, or none. Default: the model that must forget.",
    )
    command.add_argument("--output", type=str, default="runs/forget", help="Run folder to write.")
    command.add_argument(
        "--minutes", type=float, help="Minutes after which training stops (120), and goes on with --resume and more."
    )
    command.add_argument(
        "--resume", action="store_true", help="Go on with a request that was cut off, or stopped at its ceiling."
    )
    command.add_argument("--overwrite", action="store_true", help="Begin anew in a run folder that is not empty.")
    for name in ("data", "assistant", "train", "combination"):
        add_options(command, SECTIONS[name], name)
    return command


def run(given: dict[str, Any]) -> int:
    """Forget, show the page, and return the exit code."""
    flags = dict(given)
    tree = sectioned({name: value for name, value in flags.items() if "." in name or name == "output"})
    tree.setdefault("output", "runs/forget")
    tree["target"] = flags["model"]
    tree.setdefault("data", {}).update(
        {name: flags[name] for name in ("forget", "retain", "columns") if flags.get(name)}
    )
    if "minutes" in flags:
        tree.setdefault("train", {})["minutes"] = flags["minutes"]
    if instead := flags.get("instead"):
        train = tree.setdefault("train", {})
        train["objective"] = objective_saying(instead, train.get("objective", ""))
    config = build_config(tree)
    from unlogit.report.forget_page import write_page
    from unlogit.runs.forget import forget_run

    outcome = forget_run(
        config,
        tree,
        writer=given.get("writer") or "",
        resume=given.get("resume", False),
        overwrite=given.get("overwrite", False),
    )
    print(write_page(outcome))
    return exit_code(outcome)


def exit_code(outcome: Any) -> int:
    """Return 0 where the check passed."""
    return 0 if outcome.passed else EXIT_NOT_PASSED
