"""The command line: finds the command, runs it, and turns what a user can fix into one line and an exit code.

    0    done
    2    ``unlogit: error: …`` on stderr: what was got, what was expected, how to fix it; or interrupted:
         how to go on

Each command is a file in ``commands`` with ``parser()`` and ``run(given)``. Nothing heavy is imported here, and no
command's file before it is asked for, so that help answers at once.
"""

import errno
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

from unlogit import __version__
from unlogit.errors import ConfigError, UnlogitError, nearest
from unlogit.terminal import progress_shown

COMMANDS = {
    "demo": "the whole way on made-up people, with no data, network or GPU",
    "forget": "from files to a model that has forgotten them, and passed its own check",
    "run": "the whole way with one YAML file: prepare, train, evaluate",
    "split": "cut long documents into rows to train on, and rows that no model is trained on",
    "prepare": "read what to forget and what to keep, and write the rows of a run",
    "train": "train the assistant of a run and write the unlearned model",
    "evaluate": "measure what was forgotten and what was kept",
    "combine": "store the strength at which an assistant is subtracted",
    "sweep": "score every alpha, filter_rate and rule of a grid, pick on rows apart, plot the front",
    "compare": "methods beside each other on one split: train, evaluate, table and plot",
    "chat": "ask target and unlearned model the same question, side by side",
    "finetune": "ordinary training of a whole model, to make a target or a retain model",
}
"""Every command with what it does."""

SHARED = ("train", "finetune")
"""Commands that several processes can do together."""

DISK_FULL = ("No space left on device", "PytorchStreamWriter failed", "inline_container.cc")
"""What the errors of safetensors and of torch.save, which are no OSErrors, say when the disk is full."""

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name; by default that of the process) and return the exit code."""
    arguments_list = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments_list)
    except UnlogitError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print(f"unlogit: interrupted; {_how_to_go_on(arguments_list)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if message := _machine_trouble(error, arguments_list):
            return _fail(message)
        raise


def parse(arguments: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Return a command's module and the values that its command line gives, by name; runs nothing.

    Raises:
        ConfigError: no such command or flag, a value of the wrong type, or something is missing.
        SystemExit: help was asked for and printed.
    """
    name, *rest = arguments
    if name not in COMMANDS:
        raise ConfigError(
            f"unknown command {name!r}{nearest(name, list(COMMANDS))}; expected one of {', '.join(COMMANDS)}: "
            "see `unlogit --help`"
        )
    from unlogit.settings.flags import parse_flags

    module = import_module(f"unlogit.cli.commands.{name}")
    return module, parse_flags(module.parser(), rest, partial(_owners, name))


def _owners(asked: str, flag: str) -> list[str]:
    """Return the other commands that have a flag."""
    parsers = {name: import_module(f"unlogit.cli.commands.{name}").parser() for name in COMMANDS if name != asked}
    return [name for name, parser in parsers.items() if flag in parser._option_string_actions]


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"unlogit {__version__}")
        return 0
    try:
        module, values = parse(words)
    except SystemExit as exit_:  # --help of a command
        return int(exit_.code or 0)
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as device.world_size says, without torch
    if processes > 1 and words[0] not in SHARED:
        raise ConfigError(
            f"{words[0]} was started as {processes} processes; expected one: only {' and '.join(SHARED)} share their "
            "work, start this without torchrun or accelerate launch"
        )
    with progress_shown():
        return int(module.run(values) or 0)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "usage: unlogit COMMAND …",
        "",
        "Make a large language model forget given documents by logit difference, and measure how well it forgot.",
        "",
        "commands:",
        *(f"  {name.ljust(width)}  {summary}" for name, summary in COMMANDS.items()),
        "",
        "examples:",
        "  unlogit demo",
        "  unlogit prepare --output runs/first --target MODEL --forget forget.jsonl --retain retain.jsonl",
        "  unlogit train runs/first && unlogit evaluate runs/first",
        "",
        "`unlogit COMMAND --help` explains a command, `unlogit --version` prints the version.",
    ]
    return "\n".join(lines)


def _fail(message: str) -> int:
    print(f"unlogit: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_ERROR


def _how_to_go_on(words: Sequence[str]) -> str:
    """Say which command line goes on from here; training keeps checkpoints, all else is done whole or not at all."""
    again = [word for word in words if word not in ("--overwrite", "--resume")]
    if words[0] in ("train", "run", "finetune", "forget"):
        again.append("--resume")
    return f"nothing is half-written; to go on: {shlex.join(['unlogit', *again])}"


def _machine_trouble(error: Exception, arguments: Sequence[str]) -> str:
    """Return one line for a full disk, memory that ran out or a file that the system refuses; else an empty string."""
    text = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(phrase in text for phrase in DISK_FULL):
        location = f" for {error.filename}" if isinstance(error, OSError) and error.filename else ""
        resume = _how_to_go_on(arguments)
        return f"the disk is full, there is no space{location}; expected room to write: free some; {resume}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        reason = (text.strip().splitlines() or ["out of memory"])[0]
        return f"memory ran out ({reason}); expected enough for model and batch: lower batch_size or max_tokens"
    if isinstance(error, OSError) and error.filename:
        reason = error.strerror or type(error).__name__
        return f"{error.filename} cannot be used ({reason}); expected a path to read or write: check it and its rights"
    return ""
