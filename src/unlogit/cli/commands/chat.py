"""``unlogit chat``: the same question to target and unlearned model, side by side."""

from typing import Any

from unlogit.errors import ConfigError
from unlogit.settings.flags import new_parser

MAX_NEW_TOKENS = 100


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "chat",
        "RUN_OR_FOLDER [options]",
        "Ask target and unlearned model the same question and show both answers. Without --question, asks you for "
        "questions until Ctrl-D.",
        (
            "runs/mine",
            'runs/mine --question "Where was Anna born?" --question "What is the capital of France?"',
            "runs/mine/unlearned --alpha 1.2",
        ),
    )
    command.add_argument(
        "run", metavar="RUN_OR_FOLDER", type=str, help="Run folder, or the folder of an unlearned model."
    )
    command.add_argument("--question", type=str, action="append", help="Ask this and end; can be given several times.")
    command.add_argument("--max_new_tokens", type=int, default=MAX_NEW_TOKENS, help="Longest answer in tokens.")
    command.add_argument("--alpha", type=float, help="Weight of the assistant's logits, this time only.")
    command.add_argument(
        "--filter_rate", type=float, help="Share of the likeliest token's probability, this time only."
    )
    command.add_argument("--rule", type=str, help="centred, paper, suppress, tail or rank, this time only.")
    command.add_argument("--target", type=str, help="Where the target is now, if it has moved.")
    return command


def run(given: dict[str, Any]) -> None:
    """Answer the questions of the command line, or of the person at the keyboard."""
    from unlogit.model.loading import load_tokenizer, model_place
    from unlogit.runs.answers import ModelPair, answers

    tokens = given.get("max_new_tokens", MAX_NEW_TOKENS)
    if tokens < 1:
        raise ConfigError(f"max_new_tokens is {tokens}; expected 1 or more: change it")
    model = ModelPair.load(given["run"], given.get("target") or "")
    tokenizer = load_tokenizer(model_place(given["run"]))
    for name in ("rule", "alpha", "filter_rate"):
        if given.get(name) is not None:
            model.set(name, given[name])
    if questions := given.get("question"):
        show_answers(answers(model, tokenizer, questions, tokens))
    else:
        _converse(model, tokenizer, tokens)


def show_answers(replies: list[tuple[str, str, str]]) -> None:
    """Print a table with each question, the target's greedy answer and the unlearned model's."""
    from rich.table import Table

    from unlogit.report.print_table import print_table

    table = Table(show_lines=True)
    for heading in ("question", "target", "unlearned"):
        table.add_column(heading, ratio=1 if heading == "question" else 2, overflow="fold")
    for reply in replies:
        table.add_row(*reply)
    print_table(table)


def _converse(model: Any, tokenizer: Any, max_new_tokens: int) -> None:
    """Ask for questions until Ctrl-D, Ctrl-C or an empty line."""
    from unlogit.runs.answers import answers

    print("Ask a question; an empty line or Ctrl-D ends.")
    while True:
        try:
            question = input("> ").strip()
            if not question:
                break
            show_answers(answers(model, tokenizer, [question], max_new_tokens))
        except (EOFError, KeyboardInterrupt):
            print()
            break
    print("Goodbye.")
