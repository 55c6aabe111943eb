"""The files that children write to."""

import os
from pathlib import Path

from orchestrator.devstack.home import StackError

# Looked at when a program starts, and only then: it writes to the file itself, so that its last words are not lost
# with a reader. What one process writes in its life is not limited, which is enough for a stack that is for one person.
_LIMIT = 10 * 1024 * 1024
_LINES_SHOWN = 20


class Log:
    """The file that a program writes to, and where in it the present start began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = 0

    def open(self) -> int:
        """Opens the file for a new start, after setting a large one aside."""
        if self.path.exists() and self.path.stat().st_size > _LIMIT:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._began = os.fstat(descriptor).st_size
        return descriptor

    def error_with_log_tail(self, trouble: str) -> StackError:
        """An error that says what went wrong and shows the last lines that the program wrote about it."""
        shown = "".join(f"\n  {line}" for line in self._last_lines()) or "\n  (nothing)"
        return StackError(f"{trouble}. The last lines of {self.path}:{shown}")

    def _last_lines(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._began, self.path.stat().st_size - 100_000))
                return file.read().decode(errors="replace").splitlines()[-_LINES_SHOWN:]
        except OSError as error:
            return [f"({error.strerror})"]
