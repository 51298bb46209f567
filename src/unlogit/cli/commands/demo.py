"""``unlogit demo``: the whole way on made-up people."""

from pathlib import Path
from typing import Any

from unlogit.settings.flags import new_parser


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "demo",
        "[options]",
        "Make up people, train a target and a retain model on them, let the target forget some, evaluate, and answer "
        "questions before and after. The tiny model needs no network, no GPU and no download.",
        (
            "",
            "--model smollm2",
            "--model MODEL_FOLDER --output runs/demo_mine",
        ),
    )
    command.add_argument(
        "--model",
        type=str,
        default="tiny",
        help="tiny (made on the spot), smollm2 (SmolLM2-135M-Instruct), or a model's folder or hub id.",
    )
    command.add_argument("--output", type=str, default="runs/demo", help="Folder to write.")
    command.add_argument("--seed", type=int, default=0, help="Seed of people and training.")
    return command


def run(given: dict[str, Any]) -> None:
    """Run the demo."""
    from unlogit.cli.commands.chat import show_answers
    from unlogit.cli.commands.run import show_step
    from unlogit.demo.demo import run_demo

    output = Path(given.get("output", "runs/demo"))
    show_answers(run_demo(given.get("model", "tiny"), output, given.get("seed", 0), show=show_step))
    print(f"\nNext: unlogit chat {output}")
