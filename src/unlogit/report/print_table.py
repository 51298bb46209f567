"""Printing a table on a terminal of any width: no word is broken, and columns that do not fit follow below."""

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unlogit.terminal import console

if TYPE_CHECKING:
    from rich.table import Column, Table


_ANY_WIDTH = 1_000_000


def print_table(table: "Table", screen: Any = None) -> None:
    """Print a rich table on ``screen`` (stdout where there is none), its caption below in lines of the whole width."""
    screen = screen or console()
    caption, table.caption = table.caption, None
    names, *rest = table.columns
    while rest:
        count = len(rest)
        while count > 1 and _least_width(table, [names, *rest[:count]], screen) > screen.width:
            count -= 1
        screen.print(_with_columns(table, [names, *rest[:count]], screen))
        rest = rest[count:]
    if caption:
        screen.print(caption)


def _least_width(table: "Table", columns: "list[Column]", screen: Any) -> int:
    """Return the width of a table of these columns in which no word is broken."""
    frame = _measured(screen, _copied(table, columns)).maximum - sum(_widths(column, screen)[1] for column in columns)
    return int(frame) + sum(_widths(column, screen)[0] for column in columns)


def _widths(column: "Column", screen: Any) -> tuple[int, int]:
    """Return a column's width in which no word is broken, and the one in which no line is."""
    cells = [_measured(screen, cell) for cell in (column.header, *column.cells)]
    longest = max(max(cell.maximum for cell in cells), column.min_width or 0)
    if column.no_wrap:
        return longest, longest
    return max(max(cell.minimum for cell in cells), column.min_width or 0), longest


def _measured(screen: Any, content: Any) -> Any:
    """Return the least and the greatest width of some content, however wide the screen is."""
    return screen.measure(content, options=screen.options.update(max_width=_ANY_WIDTH))


def _with_columns(table: "Table", columns: "list[Column]", screen: Any) -> "Table":
    """Return the table with these columns alone; what room there is beyond their words goes to the longest lines."""
    widths = [_widths(column, screen) for column in columns]
    room = screen.width - _least_width(table, columns, screen)
    lacking = sum(longest - least for least, longest in widths)
    if 0 <= room < lacking:
        columns = [
            replace(column, width=least + room * (longest - least) // lacking, min_width=None)
            for column, (least, longest) in zip(columns, widths, strict=True)
        ]
    return _copied(table, columns)


def _copied(table: "Table", columns: "list[Column]") -> "Table":
    part_table = copy(table)
    part_table.columns = [replace(column, _index=number) for number, column in enumerate(columns)]
    return part_table
