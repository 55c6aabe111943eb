"""The answer to a request for something that does not exist."""

from typing import TypeVar

from orchestrator.model.errors import NotFound

T = TypeVar("T")


def found(value: T | None) -> T:
    """The value. Raises NotFound if there is none."""
    if value is None:
        raise NotFound
    return value
