"""Views and their runs."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

from matview.errors import MatviewError, NotFound, RunFailed, TimedOut
from matview.results import ARROW, Result
from matview.transport import Request, Transport

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

VIEWS = "warehouse_saved_queries/"
_MOST_RUNS = 100  # that the API shows
_LONGEST_NAME = 128
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


@dataclass(frozen=True)
class Column:
    """A column of a view. `type` is DuckDB's, such as DECIMAL(18,3)."""

    name: str
    type: str


@dataclass(frozen=True)
class Run:
    """One run of a view. `status` is Running, Completed, Failed, Cancelled or Skipped."""

    id: UUID
    status: str
    trigger: str
    started_at: datetime
    finished_at: datetime | None
    rows: int | None
    bytes: int | None
    error: str | None
    snapshot_id: UUID | None
    skipped_reason: str | None

    @property
    def has_ended(self) -> bool:
        """Whether it is over, however it ended."""
        return self.status != "Running"


class View:
    """A view. Its fields are as of the call that gave it; `refresh` and `reload` bring new ones."""

    def __init__(self, transport: Transport, project_path: str, found: Mapping[str, Any]) -> None:
        """`found` is the view as the API shows it, in a list or alone."""
        self._transport = transport
        self._path = f"{project_path}{VIEWS}{found['id']}/"
        self._found = found

    def __repr__(self) -> str:
        return f"<matview.View {self.name}: {self.status}>"

    @property
    def id(self) -> UUID:
        """The id of the view, which stays when its name changes."""
        return UUID(self._found["id"])

    @property
    def name(self) -> str:
        """The name of the view."""
        return str(self._found["name"])

    @property
    def status(self) -> str | None:
        """How the newest run stands, or Modified if the query was edited since; None before the first run."""
        status: str | None = self._found["status"]
        return status

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in the order of the SELECT."""
        found = self._shown() if self._found.get("abridged") else self._found
        return tuple(Column(one["name"], one["duckdb_type"]) for one in found["columns"])

    @property
    def row_count(self) -> int | None:
        """How many rows readers see; None if there are none yet."""
        count: int | None = self._shown()["row_count"]
        return count

    @property
    def data_as_of(self) -> datetime | None:
        """The moment for which the rows that readers see are known to be right; None if there are none yet."""
        moment: str | None = self._shown()["data_as_of"]
        return None if moment is None else datetime.fromisoformat(moment)

    def reload(self) -> None:
        """Ask the server for the fields again. Raises NotFound if the view was deleted."""
        self._found = self._transport.call(Request("GET", self._path))

    def to_arrow(
        self,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        snapshot_id: UUID | str | None = None,
    ) -> pa.Table:
        """The rows as a table of Arrow: all columns or these, all rows or the first `limit`, now or of a version."""
        return self._rows(columns, limit, snapshot_id).to_arrow()

    def to_pandas(
        self,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        snapshot_id: UUID | str | None = None,
    ) -> pd.DataFrame:
        """The rows as a data frame of pandas. Raises NotInstalled without pandas."""
        return self._rows(columns, limit, snapshot_id).to_pandas()

    def to_polars(
        self,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        snapshot_id: UUID | str | None = None,
    ) -> pl.DataFrame:
        """The rows as a data frame of polars. Raises NotInstalled without polars."""
        return self._rows(columns, limit, snapshot_id).to_polars()

    def batches(
        self,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        snapshot_id: UUID | str | None = None,
    ) -> Generator[pa.RecordBatch, None, None]:
        """The rows in batches, of which one is in memory at a time. Closing the iterator ends the read."""
        return self._rows(columns, limit, snapshot_id).batches()

    def runs(self, *, limit: int = 5) -> list[Run]:
        """The last runs, newest first: 100 at most."""
        request = Request("GET", f"{self._path}run_history/", params={"limit": str(limit)})
        return [_run(one) for one in self._transport.call(request)["run_history"]]

    def refresh(self, *, wait: bool = True, timeout: float = 3600.0, force: bool = False) -> Run:
        """Start a run of a materialized view, or join the one in progress.

        The run is skipped if nothing that the view reads has changed, unless `force` is set. With `wait`, returns it
        when it has completed or was skipped. Raises RunFailed if it ends otherwise, TimedOut after `timeout` seconds;
        the run goes on then.
        """
        deadline = time.monotonic() + timeout
        self._transport.call(Request("POST", f"{self._path}run/", body={"full_refresh": force}))
        run = self.runs(limit=1)[0]
        pause = _FIRST_PAUSE
        while wait and not run.has_ended:
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise TimedOut(
                    f"The run of {self.name} has not ended after {timeout:g} s; it goes on.", code="timed_out"
                )
            time.sleep(min(pause, rest))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            run = self._run(run.id)
        self.reload()
        if wait and run.status not in {"Completed", "Skipped"}:
            raise RunFailed(run)
        return run

    def _run(self, run_id: UUID) -> Run:
        found = next((run for run in self.runs(limit=_MOST_RUNS) if run.id == run_id), None)
        if found is None:
            raise MatviewError(f"The run {run_id} is no longer among the last {_MOST_RUNS} of {self.name}.")
        return found

    def _shown(self) -> Mapping[str, Any]:
        """All fields. A view that comes from a list has only some of them at first."""
        if "row_count" not in self._found:
            self.reload()
        return self._found

    def _rows(self, columns: Sequence[str] | None, limit: int | None, snapshot_id: UUID | str | None) -> Result:
        params = {} if self._transport.is_local else {"compression": "lz4"}
        if columns is not None:
            params["columns"] = _names(columns)
        if limit is not None:
            params["limit"] = str(limit)
        if snapshot_id is not None:
            params["snapshot_id"] = str(snapshot_id)
        headers = {"Accept": ARROW, "Accept-Encoding": "identity"}
        request = Request("GET", f"{self._path}data/", params=params, headers=headers, reads_rows=True)
        return Result(self._transport, lambda: request)


def find(transport: Transport, project_path: str, name: str) -> View:
    """The view of this name. As in SQL, the case of A to Z may differ. Raises NotFound."""
    for found in listed(transport, project_path, name[:_LONGEST_NAME]):
        if found["name"].lower() == name.lower():
            view = View(transport, project_path, found)
            view.reload()
            return view
    raise NotFound(f"There is no view {name}.", code="not_found")


def listed(transport: Transport, project_path: str, search: str | None) -> Generator[Mapping[str, Any], None, None]:
    """The views whose names hold `search`, or all of them, as lists of the API show them."""
    params = {"search": search} if search else {}
    page, is_last = 1, False
    while not is_last:
        request = Request("GET", f"{project_path}{VIEWS}", params=params | {"page": str(page)})
        try:
            answer = transport.call(request)
        except NotFound:
            if page == 1:
                raise
            return  # views were deleted in between, and the page with them
        yield from answer["results"]
        page, is_last = page + 1, answer["next"] is None


def _names(columns: Sequence[str]) -> str:
    names = [columns] if isinstance(columns, str) else list(columns)
    if not names:
        raise ValueError("Name at least one column, or leave `columns` out for all of them.")
    return ",".join('"' + name.replace('"', '""') + '"' for name in names)


def _run(found: Mapping[str, Any]) -> Run:
    finished, snapshot = found["finished_at"], found["snapshot_id"]
    return Run(
        id=UUID(found["id"]),
        status=found["status"],
        trigger=found["trigger"],
        started_at=datetime.fromisoformat(found["started_at"]),
        finished_at=datetime.fromisoformat(finished) if finished else None,
        rows=found["rows"],
        bytes=found["bytes"],
        error=found["error"],
        skipped_reason=found.get("skipped_reason"),
        snapshot_id=UUID(snapshot) if snapshot else None,
    )
