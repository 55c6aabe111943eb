"""Empties the environment: the server that children are forked from imports this before anything else.

The worker's environment holds its secrets, such as the URL of the database. A child needs none of it.
"""

import contextlib
import ctypes
import os
from pathlib import Path

# The positions of these fields in /proc/self/stat, counted from the field after the name of the program.
_ENV_START, _ENV_END = 47, 48


def clear_environment() -> None:
    """Empty the environment, also where the kernel shows it as /proc/self/environ. A second call changes nothing."""
    os.environ.clear()
    with contextlib.suppress(OSError):
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
        if 0 < start < end:
            ctypes.memset(start, 0, end - start)


clear_environment()
