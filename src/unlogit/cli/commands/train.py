"""``unlogit train``: from the rows of a run to its assistant and its unlearned model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import sectioned, updated
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import AssistantOptions, CombinationOptions, TrainOptions
from unlogit.terminal import warn

if TYPE_CHECKING:
    from unlogit.runs.train import Trained


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "train",
        "RUN [options]",
        "Train the assistant of a run and write RUN/assistant/ and RUN/unlearned/; with another --objective, a second "
        "branch, an offset model, or the target's own weights. Flags take precedence over the settings in "
        "RUN/config.yaml, and are written there.",
        (
            "runs/mine",
            "runs/mine --num_layers 4 --rank 16 --epochs 5",
            "runs/mine --objective npo_kl --adapter full --learning_rate 1e-5",
            "runs/mine --resume",
        ),
    )
    command.add_argument("run", metavar="RUN", type=str, help="Run folder that `unlogit prepare` made.")
    command.add_argument("--resume", action="store_true", help="Go on from the newest checkpoint, after a cut.")
    command.add_argument("--overwrite", action="store_true", help="Train again from the beginning.")
    add_options(command, AssistantOptions)
    add_options(command, TrainOptions)
    add_options(command, CombinationOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Train, and say what to do next."""
    folder = RunFolder(Path(given["run"]))
    flags = sectioned(given, "assistant", "train", "combination")
    config = updated(folder.current_config(), flags)
    from unlogit.device import on_main_process
    from unlogit.runs.plan import for_its_objective
    from unlogit.runs.train import train_run

    config = for_its_objective(folder, config, flags.get("train", {}))

    trained = train_run(folder, config, resume=given.get("resume", False), overwrite=given.get("overwrite", False))
    if not on_main_process():
        return
    show_trained(trained)
    print(f"Next: unlogit evaluate {folder.path} · unlogit chat {folder.path}")


def show_trained(trained: "Trained") -> None:
    """Print how a training went, and where what came of it is."""
    folder = trained.folder
    for summary in trained.summaries:
        _print_summary(summary)
    if not trained.combines:
        print(f"The unlearned model, an ordinary one, is in {folder.unlearned}.")
        return
    assistants = " and ".join(map(str, folder.adapters))
    print(f"What was trained is in {assistants}, the unlearned model in {folder.unlearned}.")
    warn(
        "an assistant was trained to memorise what must be forgotten: keep these folders as secret as the forget set "
        "(the weights are readable by their owner only)"
    )


def _print_summary(summary: dict[str, Any]) -> None:
    from unlogit.training.uniformity import UNIFORM_ENOUGH_NATS

    print(
        f"Trained {summary['trainable_parameters']:,} parameters in {summary['steps']:,} steps and "
        f"{summary['seconds']:,} seconds."
    )
    uniform_kl = summary.get("uniform_kl_nats", {})
    if uniform_kl:
        counts = summary.get("uniform_kl_rows", {})
        listed = ", ".join(
            f"{value:.3f} on {counts.get(name, 'the')} {name.removeprefix('holdout_')} rows"
            for name, value in uniform_kl.items()
        )
        print(f"KL from uniform in nats, on rows it never saw (0 is best, {UNIFORM_ENOUGH_NATS} too much): {listed}.")
