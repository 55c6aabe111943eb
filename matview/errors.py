"""The errors of the client: one tree, whose root is MatviewError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matview.views import Run


class MatviewError(Exception):
    """A call failed. `code` is a stable word for programs, `detail` says what is wrong, `status` is HTTP's.

    `position` is the place in the statement that is wrong, as the API gives it: `line`, `column`, `excerpt` and more.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str = "error",
        attr: str | None = None,
        status: int | None = None,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        """`attr` is the field of the request that is wrong. `status` is None if the server gave no answer."""
        super().__init__(detail)
        self.position = position
        self.detail = detail
        self.code = code
        self.attr = attr
        self.status = status


class NotFound(MatviewError):
    """The view, the version or the project does not exist, or the view has no rows yet."""


class Unauthorized(MatviewError):
    """The key is not known (401), or it may not do this (403)."""


class QueryError(MatviewError):
    """The server refuses a statement or a request for rows, or the query failed."""


class RunFailed(QueryError):
    """A run of a view ended without a result. `detail` is the run's error, `run` the run."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.error or f"The run has ended as {run.status}.", code=f"run_{run.status.lower()}")
        self.run = run


class Unavailable(MatviewError):
    """The server cannot be reached, or asks to be tried again: after `retry_after` seconds, if it says so."""

    def __init__(
        self, detail: str, *, code: str = "unavailable", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail, code=code, status=status)
        self.retry_after = retry_after


class Incomplete(MatviewError):
    """The answer broke off: the connection was lost, or the query failed after its first rows."""


class TimedOut(MatviewError, TimeoutError):
    """A run did not end in the time that the caller waits for it. It goes on."""


class NotInstalled(MatviewError, ImportError):
    """A package that this call needs is not installed."""
