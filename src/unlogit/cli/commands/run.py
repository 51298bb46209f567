"""``unlogit run``: the whole way from one YAML file, prepare → train → evaluate."""

from pathlib import Path
from typing import Any

from unlogit.settings.config_file import SECTIONS, build_config, merged, read_yaml, sectioned
from unlogit.settings.flags import add_options, new_parser


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "run",
        "CONFIG [options]",
        "Prepare, train and evaluate with the settings of one YAML file. A flag --section.key goes before the file.",
        (
            "configs/mine.yaml",
            "configs/mine.yaml --output runs/second --train.epochs 5 --assistant.rank 16",
            "configs/mine.yaml --resume",
        ),
    )
    command.add_argument(
        "config", metavar="CONFIG", type=str, help="YAML file: output, target and sections of settings."
    )
    command.add_argument("--resume", action="store_true", help="Skip what is done, go on with what was cut off.")
    command.add_argument("--overwrite", action="store_true", help="Begin anew in a run folder that is not empty.")
    command.add_argument("--output", type=str, help="Run folder to write.")
    command.add_argument("--target", type=str, help="Model that must forget: a folder or hub id.")
    for name, options in SECTIONS.items():
        add_options(command, options, name)
    return command


def run(given: dict[str, Any]) -> None:
    """Go the whole way."""
    flags = sectioned({name: value for name, value in given.items() if name != "config"})
    tree = merged(read_yaml(Path(given["config"])), flags)
    config = build_config(tree)
    from unlogit.runs.plan import plan_run
    from unlogit.runs.whole import whole_run

    config, plan = plan_run(config, tree)
    if plan:
        print(plan)
    whole_run(config, show_step, resume=given.get("resume", False), overwrite=given.get("overwrite", False))


def show_step(result: Any) -> None:
    """Show what a step returned."""
    from unlogit.cli.commands.evaluate import show_evaluated
    from unlogit.cli.commands.prepare import show_prepared
    from unlogit.cli.commands.train import show_trained
    from unlogit.runs.evaluate_run import Evaluated
    from unlogit.runs.train import Trained

    if isinstance(result, Evaluated):
        show_evaluated(result)
    elif isinstance(result, Trained):
        show_trained(result)
    else:
        show_prepared(result)
