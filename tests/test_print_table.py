"""Tables on narrow terminals: no word is broken, no line is cut, and what does not fit follows below."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from unlogit.report.print_table import print_table

LONG_WORD = "joss.korvane.the.second@customers.example.com"


def printed(table: Table, columns: int) -> list[str]:
    """The lines of a table on a terminal so wide."""
    screen = Console(file=io.StringIO(), width=columns, markup=False, highlight=False)
    print_table(table, screen)
    lines: list[str] = screen.file.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    return lines


def answers() -> Table:
    table = Table(show_lines=True)
    for heading in ("question", "target", "unlearned"):
        table.add_column(heading, overflow="fold")
    table.add_row("What is the e-mail address of Joss Korvane?", f"It is {LONG_WORD}.", "I do not know " * 9)
    return table


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_words_stay_whole(columns: int) -> None:
    lines = printed(answers(), columns)
    shown = "\n".join(lines)
    assert f"{LONG_WORD}." in shown
    assert {"What", "address", "Korvane?", "know"} <= set(shown.replace("│", " ").split())
    assert sum("question" in line for line in lines) == (1 if columns > 62 else 2)


def test_columns_that_do_not_fit_follow_below() -> None:
    """Twelve columns of ten do not fit into 80; each block begins with the names."""
    table = Table(caption="All of these are higher is better, none of them lower, as can be seen here.")
    table.add_column("model", min_width=12)
    for number in range(12):
        table.add_column(f"figure{number}", justify="right", no_wrap=True)
    table.add_row("unlearned", *(f"0.{number:07}" for number in range(12)))
    lines = printed(table, 80)
    assert sum("unlearned" in line for line in lines) == 3
    shown = "\n".join(lines)
    assert all(f"0.{number:07}" in shown for number in range(12))
    assert shown.split()[-4:] == ["can", "be", "seen", "here."]
    assert sum("unlearned" in line for line in printed(table, 200)) == 1
