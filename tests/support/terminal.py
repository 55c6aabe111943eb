"""A terminal in which a command runs, as its user sees it."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>])")
_CURSOR_ASKED, _CURSOR = "\x1b[6n", b"\x1b[1;1R"


class Terminal:
    """A pseudo-terminal with a command as its session. Leaving the context ends the command."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path | None = None, columns: int = 80
    ) -> None:
        self._number, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.raw = ""
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            # These would say another size than the terminal's own.
            env={**{name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}}, "TERM": "xterm"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one call of the system
        )
        os.close(inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._number)

    def types(self, text: str) -> None:
        """Press these keys."""
        os.write(self._number, text.encode())

    def shows(self, text: str, patience: float = 30) -> str:
        """All that was shown up to here, once this text is. The next call looks only at what comes after."""
        deadline = time.monotonic() + patience
        while text not in (shown := _ESCAPES.sub("", self.raw)):
            assert self._read(deadline), f"{text!r} is not in {self.raw!r}"
        end = shown.index(text) + len(text)
        self.raw = shown[end:]  # it may have come with the text
        return shown[:end]

    def ends(self, patience: float = 30) -> int:
        """The exit status of the command. `raw` is all that it has shown."""
        deadline = time.monotonic() + patience
        while self._read(deadline):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        """Read what has come; False if nothing more comes."""
        if not select.select([self._number], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            self.raw += os.read(self._number, 65536).decode(errors="replace")
        except OSError:  # the command has ended
            return False
        if _CURSOR_ASKED in self.raw:
            self.raw = self.raw.replace(_CURSOR_ASKED, "")
            os.write(self._number, _CURSOR)
        return True


def _take_terminal() -> None:
    """Make standard input the terminal of this session, so that its Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
