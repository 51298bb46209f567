"""``unlogit combine``: store how strongly, and by which rule, a run's assistants are subtracted, and which of them."""

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
        (
            "runs/mine --alpha 0.8",
            "runs/mine --rule suppress --alpha 1.25 --filter_rate 0",
            "runs/second --strength first=0.5",
            "runs/second --remove first",
        ),
    )
    command.add_argument("run", metavar="RUN", type=str, help="Run folder with an unlearned model.")
    command.add_argument("--target", type=str, help="Record where the target is now, if it has moved.")
    command.add_argument("--remove", type=str, help="Take away the request of this name, the first run's folder name.")
    command.add_argument("--strength", type=str, help="NAME=NUMBER: strength of one request; 1 is as trained.")
    add_options(command, CombinationOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Store it, and say what it was."""
    from unlogit.runs.combine import change_requests, combine_run
    from unlogit.runs.evaluate import combination_words

    folder = RunFolder(Path(given["run"]))
    changes = sectioned(given, "combination").get("combination", {})
    target = given.get("target") or ""
    remove, strength = given.get("remove") or "", given.get("strength") or ""
    if not (changes or target or remove or strength):
        raise ConfigError(
            "no rule, alpha, filter_rate, target, remove or strength was given; expected at least one: give --alpha, "
            "as 0.8"
        )
    folder.read_config()  # a run folder?
    combination = replace(folder.combination(), **changes)  # checked before anything is written
    if remove or strength:
        strengths = change_requests(folder, remove, strength)
        listed = ", ".join(f"{name} at strength {value:g}" for name, value in strengths.items())
        print(f"{folder.path} forgets {listed} from now on.")
    if not (changes or target):
        return
    previous = combine_run(folder, combination, target)
    if target:
        print(f"The target of {folder.path} is {target} from now on.")
    stored = combination_words(combination)
    print(f"{folder.path} combines as {stored} from now on (before: {combination_words(previous)}).")
