"""``unlogit combine``: store how strongly, and by which rule, a run's assistant is subtracted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import sectioned
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import CombinationOptions


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "combine",
        "RUN [options]",
        "Store how the unlearned model of a run combines target and assistant. What is not given stays. Nothing is "
        "trained or scored; every later command, and every program that loads RUN/unlearned, combines so.",
        ("runs/mine --alpha 0.8", "runs/mine --rule suppress --alpha 1.25 --filter_rate 0"),
    )
    command.add_argument("run", metavar="RUN", type=str, help="Run folder with an unlearned model.")
    command.add_argument("--target", type=str, help="Record where the target is now, if it has moved.")
    add_options(command, CombinationOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Store it, and say what it was."""
    from unlogit.runs.combine import combine_run
    from unlogit.runs.evaluate import combination_words

    folder = RunFolder(Path(given["run"]))
    changes = sectioned(given, "combination").get("combination", {})
    target = given.get("target") or ""
    if not changes and not target:
        raise ConfigError(
            "no rule, alpha, filter_rate or target was given; expected at least one: give --alpha, as 0.8"
        )
    folder.read_config()  # a run folder?
    combination = replace(folder.combination(), **changes)
    previous = combine_run(folder, combination, target)
    if target:
        print(f"The target of {folder.path} is {target} from now on.")
    stored = combination_words(combination)
    print(f"{folder.path} combines as {stored} from now on (before: {combination_words(previous)}).")
