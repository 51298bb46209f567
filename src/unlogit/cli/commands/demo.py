"""``unlogit demo``: the whole way on made-up people."""

from pathlib import Path
from typing import Any

from unlogit.settings.flags import new_parser


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "demo",
        "[options]",
        "Make up people, train a target on them, let it forget some as `unlogit forget` does, and evaluate it beside a "
        "model that never knew these. The tiny model needs no network, no GPU and no download. Exit code 0 only if the "
        "check passed, 3 if not.",
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


def run(given: dict[str, Any]) -> int:
    """Run the demo, and return the exit code of its request."""
    from unlogit.cli.commands.forget import exit_code
    from unlogit.demo.demo import run_demo

    output = Path(given.get("output", "runs/demo"))
    outcome = run_demo(given.get("model", "tiny"), output, given.get("seed", 0), show=_show)
    print(f"\nNext: unlogit chat {output}")
    return exit_code(outcome)


def _show(result: Any) -> None:
    """Show what the request came to, or the evaluation."""
    from unlogit.cli.commands.run import show_step
    from unlogit.report.forget_page import write_page
    from unlogit.runs.outcome import Outcome

    if isinstance(result, Outcome):
        print(write_page(result))
    else:
        show_step(result)
