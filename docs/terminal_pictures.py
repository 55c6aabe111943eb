"""`make screenshots`: takes pictures of commands as a terminal shows them, on a stack of its own. Needs no browser.

Everything that they show is real: the commands run one after another on the example project.
"""

import asyncio
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

_HERE = Path(__file__).parent / "images"
_COLUMNS, _LINES = 130, 50
# Each picture: its name, and the commands that it shows.
_PICTURES: Sequence[tuple[str, Sequence[str]]] = (
    ("terminal-plan", ["matview plan shop"]),
    ("terminal-apply", ["matview apply shop --yes"]),
    ("terminal-lineage", ["matview lineage", "matview lineage best_customers --upstream --columns"]),
    ("terminal-refused", ["matview plan shop --diff"]),
    ("terminal-status", ["matview status", "matview view list"]),
)


async def main() -> None:
    """Run the commands and write a picture for each group."""
    with tempfile.TemporaryDirectory(prefix="mv-terminal-") as name:
        folder = Path(name)
        async with DevStack(folder / ".matview", bootstrap=bootstrap, say=print, extra_source_roots=[folder]):
            await asyncio.to_thread(_typed, "matview init shop", folder)
            for picture, commands in _PICTURES:
                if picture == "terminal-refused":
                    _break_a_reader(folder)
                console = Console(record=True, width=_COLUMNS, file=io.StringIO())
                for command in commands:
                    console.print(Text(f"$ {command}", style="bold"))
                    shown = await asyncio.to_thread(_typed, command, folder)
                    console.print(Text.from_ansi(shown.replace(str(folder), "~/work")))
                picture_of = console.export_svg(title="matview")
                # The fonts of another host are not loaded.
                (_HERE / f"{picture}.svg").write_text(re.sub(r"@font-face \{.*?\}", "", picture_of, flags=re.DOTALL))


def _break_a_reader(folder: Path) -> None:
    file = folder / "shop" / "views" / "orders_by_customer.sql"
    file.write_text(file.read_text().replace("AS revenue", "AS turnover"))


def _typed(command: str, folder: Path) -> str:
    """The output of a command on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    argv = [sys.executable, "-m", "orchestrator", *command.split()[1:]]
    env = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(  # noqa: S603 - commands of this file
        argv, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    ):
        os.close(theirs)
        written = b""
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # the command has ended
                break
            if not chunk:
                break
            written += chunk
    os.close(ours)
    return _at_the_end(written.decode(errors="replace"))


def _at_the_end(written: str) -> str:
    """The last state of a display that is drawn again and again: what follows the last move of the cursor upwards."""
    lines = written.replace("\r\n", "\n")
    return lines.rpartition("\x1b[1A")[2].removeprefix("\x1b[2K") if "\x1b[1A" in lines else lines.rstrip("\n")


if __name__ == "__main__":
    asyncio.run(main())
