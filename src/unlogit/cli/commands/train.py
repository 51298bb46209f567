"""``unlogit train``: from the rows of a run to its assistant and its unlearned model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import sectioned, updated
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import AssistantOptions, CombinationOptions, RunConfig, TrainOptions
from unlogit.terminal import warn


def parser() -> Any:
    """What the command line takes."""
    new = new_parser(
        "train",
        "RUN [options]",
        "Train the assistant of a run and write RUN/assistant/ and RUN/unlearned/; with another --objective, a second "
        "branch, an offset model, or the target's weights rewritten. Flags go before the settings in RUN/config.yaml, "
        "and are written there.",
        (
            "runs/mine",
            "runs/mine --num_layers 4 --rank 16 --epochs 5",
            "runs/mine --objective npo_kl --adapter full --learning_rate 1e-5",
            "runs/mine --resume",
        ),
    )
    new.add_argument("run", metavar="RUN", type=str, help="Run folder that `unlogit prepare` made.")
    new.add_argument("--resume", action="store_true", help="Go on from the newest checkpoint, after a cut.")
    new.add_argument("--overwrite", action="store_true", help="Train again from the beginning.")
    add_options(new, AssistantOptions)
    add_options(new, TrainOptions)
    add_options(new, CombinationOptions)
    return new


def run(given: dict[str, Any]) -> None:
    """Train, and say what to do next."""
    folder = RunFolder(Path(given["run"]))
    config = updated(folder.read_config(), sectioned(given, "assistant", "train", "combination"))
    train_run(folder, config, resume=given.get("resume", False), overwrite=given.get("overwrite", False))
    print(f"Next: unlogit evaluate {folder.path} · unlogit chat {folder.path}")


def train_run(
    folder: RunFolder, config: RunConfig, *, resume: bool = False, overwrite: bool = False, target: Any = None
) -> None:
    """Train the assistant of a run and write it and the unlearned model; print how it went.

    Args:
        folder: a prepared run.
        config: its settings; written into the folder before training, so that ``resume`` finds them.
        resume: go on where a training was cut off; what is done already is not done again.
        overwrite: begin anew although there is a training, whole or cut off; the earlier one and what was measured of
            it go before the new one begins, so that a cut never leaves an old assistant under new settings.
        target: the target in float32, if it is loaded already.

    Raises:
        ConfigError: a setting is wrong, or there is a training and neither ``resume`` nor ``overwrite``, or one that
            was begun with other settings or rows, and ``resume``.
        DataError: the rows are missing.
        ModelError: the target cannot be used.
    """
    from unlogit.model.loading import load_target, load_tokenizer
    from unlogit.objectives import OBJECTIVES
    from unlogit.runs.train import RunTraining
    from unlogit.settings.checks import check_run
    from unlogit.training.train import TrainingRows, check_rows

    rows = TrainingRows.read(folder.data)
    check_rows(rows)
    check_run(config)
    _check_earlier(folder, config, resume, overwrite)
    tokenizer = load_tokenizer(config.target)
    target = target or load_target(config.target)
    training = RunTraining(folder, config, target, tokenizer, rows, resume)
    if resume and folder.trained and not folder.training:
        folder.write_config(config)
        training.train()  # of several branches some may be missing
    else:
        with _settings(folder, config, overwrite):
            summaries = training.train()
        for summary in summaries:
            _print_summary(summary)
    if OBJECTIVES[config.train.objective] == "weights":
        print(f"The unlearned model, an ordinary one, is in {folder.unlearned}.")
        return
    print(f"The assistant is in {folder.assistant}, the unlearned model in {folder.unlearned}.")
    warn(
        "the assistant was trained to memorise what must be forgotten: keep both folders as secret as the forget set "
        "(the weights are readable by their owner only)"
    )


@contextmanager
def _settings(folder: RunFolder, config: RunConfig, overwrite: bool) -> Iterator[None]:
    """Write the settings of a training before it; take them back if it was refused before its first checkpoint.

    An earlier training comes back then, too; it goes for good where the new one ended, or was cut off.
    """
    earlier = folder.read_config()
    folder.drop_aside()  # a killed training's, which must not come back
    if overwrite:
        folder.set_training_aside()
    folder.write_config(config)
    folder.begin_training(config)
    try:
        yield
    except Exception:  # not enough memory or disk, too
        if not folder.training:
            folder.write_config(earlier)
            folder.training_settings.unlink(missing_ok=True)
            folder.bring_back()
        raise
    finally:
        folder.drop_aside()


def _check_earlier(folder: RunFolder, config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Refuse to lose an earlier training unasked, or to go on with one under other settings."""
    from unlogit.training.trainer import check_checkpoints

    for work in folder.checkpoints:
        check_checkpoints(work)
    for path, sign in ((folder.assistant, folder.trained), (folder.unlearned, folder.combined)):
        if path.exists() and any(path.iterdir()) and not sign:
            raise ConfigError(f"{path} holds files of no training, which would be lost; expected none: move them")
    if overwrite or not (folder.trained or folder.training):
        return
    if resume:
        folder.check_training(config)
        return
    found = "a training that was cut off" if folder.training else "a trained assistant"
    raise ConfigError(
        f"{folder.path} holds {found}; expected none: give --resume to go on with it, or --overwrite to train again"
    )


def _print_summary(summary: dict[str, Any]) -> None:
    from unlogit.training.train import FLAT_ENOUGH_NATS, flatness_warning, learning_warning

    print(
        f"Trained {summary['trainable_parameters']:,} parameters in {summary['steps']:,} steps and "
        f"{summary['seconds']:,} seconds."
    )
    flat = summary.get("flatness_nats", {})
    if flat:
        counts = summary.get("flatness_rows", {})
        words = ", ".join(
            f"{value:.3f} on {counts.get(name, 'the')} {name.removeprefix('holdout_')} rows"
            for name, value in flat.items()
        )
        print(f"Flatness in nats, on rows it never saw (0 is flat, {FLAT_ENOUGH_NATS} too much): {words}.")
    if message := flatness_warning(flat):
        warn(message)
    if "chance_nats" in summary and (message := learning_warning(summary["forget_nats"], summary["chance_nats"])):
        warn(message)
