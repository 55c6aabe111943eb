"""The log files of child processes."""

import os
from pathlib import Path

from orchestrator.devstack.home import StackError

# Checked only when a program starts. The program writes to the file itself, so that its last lines are not lost with
# another process that copies them. So the log of one process has no limit, which is enough for one developer's stack.
_LIMIT = 10 * 1024 * 1024
_LINES_SHOWN = 20


class Log:
    """The log file of a program, and the position at which its current start began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = 0

    def open(self) -> int:
        """Opens the file for a new start, after renaming one of over 10 MiB."""
        if self.path.exists() and self.path.stat().st_size > _LIMIT:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._began = os.fstat(descriptor).st_size
        return descriptor

    def error_with_log_tail(self, trouble: str) -> StackError:
        """An error that says what went wrong, with the last lines that the program wrote since it started."""
        shown = "".join(f"\n  {line}" for line in self._last_lines()) or "\n  (nothing)"
        return StackError(f"{trouble}. The last lines of {self.path}:{shown}")

    def _last_lines(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._began, self.path.stat().st_size - 100_000))
                return file.read().decode(errors="replace").splitlines()[-_LINES_SHOWN:]
        except OSError as error:
            return [f"({error.strerror})"]
