"""Asks the API again and again, also while it cannot be reached: it may be restarting, and runs go on without it."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from orchestrator.cli.api_client import Unavailable

T = TypeVar("T")

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 30


def patiently(ask: Callable[[], T]) -> T:
    """The answer, once there is one. Raises Unavailable if there is none for half a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def every_moment(ask: Callable[[], T]) -> Iterator[T]:
    """One answer after the other, for as long as the caller takes them. Raises what `patiently` does."""
    while True:
        yield patiently(ask)
        time.sleep(POLL_SECONDS)
