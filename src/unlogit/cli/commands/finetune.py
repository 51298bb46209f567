"""``unlogit finetune``: ordinary training of a whole model, to make a target or a retain model."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import DataOptions, FinetuneOptions
from unlogit.terminal import has_bar


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "finetune",
        "--model MODEL --data ROWS --output FOLDER [options]",
        "Train a whole model on rows and save it as an ordinary model: a target (all rows) or a retain model (all but "
        "those to forget). Nothing is forgotten here.",
        (
            "--model MODEL --data all.jsonl --output models/target",
            "--model MODEL --data tofu:retain90 --tofu_folder FOLDER --output models/retain90 --learning_rate 1e-4",
            "--model MODEL --from_scratch --data tofu:retain95 tofu:real_authors --output models/tiny --loss_on all",
            "--model MODEL --data all.jsonl --output models/target --resume",
        ),
    )
    command.add_argument("--model", type=str, required=True, help="Model to start from: a folder or hub id.")
    command.add_argument(
        "--data", type=str, nargs="+", required=True, help="Rows: files, folders, hub data sets or tofu:NAME, joined."
    )
    command.add_argument(
        "--from_scratch", action="store_true", help="Take the model's shape only, with random weights."
    )
    command.add_argument("--output", type=str, required=True, help="Folder of the trained model.")
    command.add_argument("--tofu_folder", type=str, default="", help="Folder that holds TOFU's files. Empty: the hub.")
    command.add_argument("--chunk_tokens", type=int, default=256, help="Tokens in each piece of a `text` document.")
    command.add_argument("--resume", action="store_true", help="Go on from the newest checkpoint, after a cut.")
    command.add_argument("--overwrite", action="store_true", help="Replace the model of an earlier run.")
    add_options(command, FinetuneOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Train, and say where the model is."""
    from unlogit.data.sources import check_sources, read_examples
    from unlogit.device import on_main_process
    from unlogit.model.loading import load_target, load_tokenizer, new_model
    from unlogit.runs.finetune import finetune

    names = {field.name for field in fields(FinetuneOptions)}
    options = FinetuneOptions(**{name: value for name, value in given.items() if name in names})
    output, resume = Path(given["output"]), given.get("resume", False)
    chunk_tokens = given.get("chunk_tokens", DataOptions.chunk_tokens)
    _check(options, chunk_tokens)
    settings: dict[str, Any] = {name: given.get(name, "") for name in ("model", "tofu_folder")}
    settings["data"] = " ".join(given["data"])
    from_scratch = settings["from_scratch"] = given.get("from_scratch", False)
    settings["chunk_tokens"] = chunk_tokens
    if _done(output, resume, given.get("overwrite", False)):
        print(f"{output} is trained already.")
        return
    check_sources(*given["data"])
    tokenizer = load_tokenizer(given["model"])
    rows = [
        row
        for source in given["data"]
        for row in read_examples(
            source, tokenizer=tokenizer, chunk_tokens=chunk_tokens, tofu_folder=given.get("tofu_folder", "")
        )
    ]
    model = new_model(given["model"], options.seed) if from_scratch else load_target(given["model"])
    summary = finetune(model, tokenizer, rows, output, options, resume=resume, bar=has_bar(), settings=settings)
    if not on_main_process():
        return
    print(f"Trained on {summary['rows']:,} rows, {summary['steps']:,} steps, {summary['seconds']:,} seconds.")
    print(f"The model is in {output}.")


def _check(options: FinetuneOptions, chunk_tokens: int) -> None:
    """Refuse what cannot work before anything long begins; all problems at once."""
    from unlogit.runs.checks import seed_problems

    positive = ("learning_rate", "epochs", "batch_size", "max_tokens", "save_steps", "logging_steps")
    problems = [f"{n} is {getattr(options, n)}; expected more than 0" for n in positive if getattr(options, n) <= 0]
    if not 0 <= options.warmup_ratio < 1:
        problems.append(f"warmup_ratio is {options.warmup_ratio}; expected at least 0 and below 1")
    problems += seed_problems(options.seed)
    if chunk_tokens < 16:
        problems.append(f"chunk_tokens is {chunk_tokens}; expected 16 or more")
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")


def _done(output: Path, resume: bool, overwrite: bool) -> bool:
    """Return whether there is nothing left to do; refuse to lose what an earlier training made.

    Raises:
        ConfigError: the folder is in use, or a training was cut off, and neither flag says what to do; or it holds
            files of no training, which no flag is asked to remove.
    """
    trained = (output / "finetune.json").is_file()
    used = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if used and not trained and (resume or overwrite):
        raise ConfigError(
            f"{output} is not empty and holds no model that `unlogit finetune` made, whose place it would take; "
            "expected one, or a new folder: choose another"
        )
    if overwrite:
        return False
    cut_off = any((output.parent / f"{output.name}.checkpoints").glob("checkpoint-*"))
    if resume:
        return not cut_off and trained
    if cut_off:
        raise ConfigError(
            f"{output}.checkpoints holds a training that was cut off; expected none: give --resume to go on with "
            "it, or --overwrite to begin anew"
        )
    if used:
        how = ", or give --overwrite" if trained else ""
        raise ConfigError(f"{output} is not empty; expected a new folder: choose another{how}")
    return False
