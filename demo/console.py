"""The console output of the demonstration, and its error class."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
# So wide that rich does not truncate a path. The terminal wraps a line that is too long for it.
_wide = Console(highlight=False, width=1000)


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


def say(text: str = "", style: str = "") -> None:
    """Print a line as it is, without interpreting markup."""
    out.print(Text(text, style=style))


def say_table(header: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()) -> None:
    """Print a table; the columns named in `numbers` are aligned to the right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name, justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    _wide.print(table)
