"""Tables on a terminal: by rich where it is installed, plain text otherwise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "", file: TextIO | None = None
) -> None:
    """Print `rows` of cells under `columns`; cells that are numbers are set to the right."""
    file = file or sys.stdout
    cells = [[_text(cell) for cell in row] for row in rows]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ImportError:
        file.write(_plain(columns, cells, right, title))
        return
    table = Table(title=escape(title) or None, title_justify="left")
    for column, is_right in zip(columns, right, strict=True):
        table.add_column(escape(column), justify="right" if is_right else "left", overflow="fold")
    for line in cells:
        table.add_row(*map(escape, line))
    # Without a terminal there is no width to keep to: a log shall have whole lines.
    Console(file=file, width=None if file.isatty() else 240).print(table)


def _is_number(cell: object) -> bool:
    return cell is None or isinstance(cell, int | float)


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def _plain(columns: Sequence[str], cells: list[list[str]], right: list[bool], title: str) -> str:
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(texts, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    head = [title] if title else []
    return (
        "\n".join([*head, line(columns), line(["-" * width for width in widths]), *map(line, cells)]) + "\n"
    )
