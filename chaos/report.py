"""Prints and writes the report at the end of a run."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaos.history import History

_console = Console(highlight=False, soft_wrap=True)
_wide = Console(highlight=False, width=200)


def say(text: str, style: str = "") -> None:
    """Print a line as it is."""
    _console.print(Text(text, style=style))


def show(history: History) -> None:
    """Print the figures, and every violation with the operations and faults before it."""
    table = Table("what", "how", "count", box=None, header_style="bold", pad_edge=False)
    table.columns[-1].justify = "right"
    for name, count in sorted(history.counts.items()):
        group, _, rest = name.partition("/")
        table.add_row(group if rest else name, rest.replace("/", ": "), f"{count:,}")
    _wide.print(table)
    printed = set()
    for violation in history.violations:
        say(f"\nVIOLATION after {violation.after_seconds} s ({violation.kind}) {violation.view or ''}", "bold red")
        say(violation.message)
        if violation.view not in printed:  # the log of a view is printed once
            printed.add(violation.view)
            for line in violation.log:
                say(f"    {line}")
    total = sum(_of(history, "violations"))
    say(f"\n{total} violations (seed {history.seed})", "bold red" if total else "bold green")


def write(history: History, path: Path, more: dict[str, Any]) -> None:
    """Write the figures and violations as JSON."""
    found = more | {
        "seed": history.seed,
        "machine": platform.platform(),
        "figures": dict(sorted(history.counts.items())),
        "violations": [asdict(violation) for violation in history.violations],
    }
    path.write_text(json.dumps(found, indent=2) + "\n")


def _of(history: History, group: str) -> Iterable[int]:
    return (count for name, count in history.counts.items() if name.startswith(f"{group}/"))
