"""A connection to one project of a Matview server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from matview.errors import MatviewError
from matview.results import ARROW, Result
from matview.transport import Request, Transport
from matview.views import View, find, listed

_TIMEOUT = 120.0


def connect(
    url: str | None = None, key: str | None = None, *, project: int | None = None, timeout: float = _TIMEOUT
) -> Connection:
    """A connection to the API at `url` with a key, for one project.

    They default to MATVIEW_API_URL, MATVIEW_API_KEY and MATVIEW_PROJECT_ID, and the project to the only one of the key.
    `timeout` is how long the server may be silent, in seconds. A query is silent until it has its first rows. Raises
    MatviewError if one of them is missing, Unauthorized if the project has to be asked for and the key is not known.
    """
    url = url or os.environ.get("MATVIEW_API_URL")
    key = key or os.environ.get("MATVIEW_API_KEY")
    if not url or not key:
        missing = ("url", "MATVIEW_API_URL") if not url else ("key", "MATVIEW_API_KEY")
        raise MatviewError(f"connect() needs the {missing[0]}, or the variable {missing[1]}.", code="not_configured")
    transport = Transport(url, key, timeout)
    try:
        return Connection(transport, _project(transport) if project is None else project)
    except BaseException:
        transport.close()
        raise


class Connection:
    """A project, as a key may use it. Threads may share it. It is a context manager, which closes it."""

    def __init__(self, transport: Transport, project: int) -> None:
        self.project = project
        self._transport = transport
        self._path = f"/api/projects/{project}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<matview.Connection {self._transport.url} project={self.project}>"

    def close(self) -> None:
        """Close the connections to the server. Reads that are still open end."""
        self._transport.close()

    def view(self, name: str) -> View:
        """The view of this name. Raises NotFound."""
        return find(self._transport, self._path, name)

    def views(self, *, search: str | None = None) -> list[View]:
        """The views whose names hold `search` in any case, or all of them, newest first."""
        found = listed(self._transport, self._path, search)
        return [View(self._transport, self._path, one) for one in found]

    def query(self, sql: str, *, values: Mapping[str, Any] | None = None) -> Result:
        """The result of a SELECT over the views and tables of the project. Reading the result runs it.

        `values` are those of `{name}` or `$name` in the statement.
        """

        def ask() -> Request:
            return Request(
                "POST",
                f"{self._path}query/",
                body={"query": {"query": sql, "values": dict(values or {})}, "client_query_id": str(uuid4())},
                headers={"Accept": ARROW, "Accept-Encoding": "identity"},
                reads_rows=True,
                is_repeatable=True,  # it only reads
            )

        def cancel(asked: Request) -> Request:
            assert asked.body is not None  # noqa: S101 - made above
            return Request("DELETE", f"{self._path}query/{asked.body['client_query_id']}/")

        return Result(self._transport, ask, cancel)


def _project(transport: Transport) -> int:
    """The project of the environment, or the only one of the key."""
    given = os.environ.get("MATVIEW_PROJECT_ID")
    if given:
        try:
            return int(given)
        except ValueError:
            raise MatviewError(f"MATVIEW_PROJECT_ID is no number: {given!r}.", code="not_configured") from None
    projects = transport.call(Request("GET", "/api/personal_api_keys/@current/"))["scoped_teams"]
    if len(projects) != 1:
        which = f"those of the key are {', '.join(map(str, projects))}" if projects else "the key is for all of them"
        raise MatviewError(f"connect() needs the project: {which}.", code="not_configured")
    return int(projects[0])
