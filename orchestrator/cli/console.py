"""What commands print, and how they fail."""

import sys

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)


class Failure(Exception):
    """A command could not do what it was asked; `status` is the process's exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def fail(message: str) -> None:
    """Say what went wrong, on standard error."""
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()
