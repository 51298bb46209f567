"""The page of text at the end of a request: what was asked before and after, what was kept, the strength, a verdict."""

from typing import Any

from unlogit.runs.forget import Outcome

SHOWN_ROWS = 20


def forget_table(outcome: Outcome) -> Any:
    """Return a rich table of the rows to forget, at most ``SHOWN_ROWS``: question, answer before, answer after."""
    from rich.table import Table

    table = Table(show_lines=True)
    for heading, share in (("question", 3), ("before", 4), ("after", 4), ("still told", 1)):
        table.add_column(heading, ratio=share, overflow="fold")
    for leak in outcome.leaks[:SHOWN_ROWS]:
        still_told = "yes" if leak.unlearned_tells else "no"
        if leak.samples_that_tell and not leak.unlearned_tells:
            still_told = f"{leak.samples_that_tell} of {leak.samples}"
        if not leak.target_tells:
            still_told += " (not known before)"
        table.add_row(leak.question, leak.target_answer, leak.unlearned_answer, still_told)
    return table


def forget_page(outcome: Outcome) -> str:
    """Return the page in words."""
    leaks, retained, general, training = outcome.leaks, outcome.retained, outcome.general, outcome.training
    by_target = sum(leak.target_tells for leak in leaks)
    by_unlearned = sum(leak.unlearned_tells for leak in leaks)
    sampled = sum(leak.samples for leak in leaks)
    combination = outcome.combination
    kept_rows = "rows to keep"
    if outcome.retained_are_ghosts:
        kept_rows = "questions about people who do not exist, whose answers are made up and change easily,"
    lines = [
        f"Asked: {len(leaks)} rows to forget. The target told {by_target} of them, the unlearned model tells "
        f"{by_unlearned}.",
    ]
    if len(leaks) > SHOWN_ROWS:
        lines[0] += f" The first {SHOWN_ROWS} are shown."
    if sampled:
        telling = sum(leak.samples_that_tell for leak in leaks)
        lines.append(f"Sampled: {telling} of {sampled} answers drawn at temperature 1 tell a row.")
    lines += [
        f"Kept: {retained.same} of {retained.rows} {kept_rows} have the target's answer word for word.",
        f"General questions: of {general.target_right} right answers {general.still_right} are still right; "
        f"{general.same} of {general.rows} are the target's word for word.",
        f"Training: {training['steps']} steps in {training['seconds']} seconds.",
        f"Strength: alpha {combination['alpha']}, rule {combination['rule']}, filter rate {combination['filter_rate']} "
        "(the defaults; change them with `unlogit combine`).",
    ]
    if outcome.passed:
        lines.append(f"Passed: the unlearned model is in {outcome.folder / 'unlearned'}.")
    else:
        lines += [f"Not passed: {problem}." for problem in outcome.problems]
    return "\n".join(lines)
