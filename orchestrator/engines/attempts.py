"""The parts of an attempt that are the same on every engine: its time, and the folder that it writes into."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.model.errors import QueryTimedOut


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Raise QueryTimedOut if the context takes longer."""
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            yield
    except TimeoutError:
        if not clock.expired():
            raise
        raise QueryTimedOut(f"The query ran longer than {shown_seconds(seconds)}.") from None


def shown_seconds(seconds: float) -> str:
    """A number of seconds in words."""
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def empty(folder: Path) -> None:
    """Remove all that an attempt has written into its folder, as far as that can be removed."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
