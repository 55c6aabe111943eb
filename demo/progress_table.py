"""Shows the progress of the views: on a terminal a table that is redrawn, elsewhere a line for each change."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.console import out, say


class Board:
    """Context manager that shows a line of text for each view."""

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(len(name) for name in names)
        self._texts = dict.fromkeys(names, "waits for what it reads")
        self._done: set[str] = set()
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._table, console=out, refresh_per_second=10) if out.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, name: str, text: str, *, done: bool = False) -> None:
        """Show the progress of a view."""
        changed = self._texts[name] != text
        self._texts[name] = text
        if done:
            self._done.add(name)
        if changed and not self._live:
            say(f"  {name:<{self._width}}  {text}")

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, text in self._texts.items():
            mark = Text("✓", style="green") if name in self._done else self._spinner
            table.add_row(mark, Text(name), Text(text, style="" if name in self._done else "dim"))
        return table
