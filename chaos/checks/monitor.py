"""Checks about once a second, while faults are injected, the invariants that hold at every moment."""

import asyncio
import time
from contextlib import suppress

from chaos.catalog import Catalog, Row, Unavailable
from chaos.harness import GRACE_SECONDS, Harness
from chaos.operators import pause_lost
from chaos.processes import writers

_PAUSE = 1.0
# For so long, traces of an operator's act or of a killed process may remain: servers have to start again, and the
# program has to notice.
_SETTLING = 60.0


class Monitor:
    """Checks runs, pointers, processes and pauses."""

    def __init__(self, chaos: Harness) -> None:
        self._chaos = chaos
        self._history = chaos.history
        self._catalog = Catalog(chaos.stack.info["database_url"])
        self._over: dict[str, str] = {}  # the final status of each run that has one
        self._since: dict[tuple[str, ...], float] = {}  # since when each state that must not last has been seen

    async def watch(self) -> None:
        """Check until the task is cancelled."""
        try:
            while True:
                await asyncio.sleep(_PAUSE)
                with suppress(Unavailable):
                    await self.look()
        finally:
            await self._catalog.close()

    async def look(self) -> None:
        """Check once. Raises Unavailable."""
        self._history.counts["looks"] += 1
        cancelled = set(self._history.cancelled)  # copied first: the API may answer a cancel during the query
        runs = await self._catalog.rows("SELECT id, saved_query_id, status, snapshot_id, error_code FROM runs")
        self._check_final(runs, cancelled)
        seen = {*self._twice(runs), *await self._idle_writers(runs)}
        self._check_lasting(seen)
        await self._check_pointers()
        for view in self._history.views:
            lost = await pause_lost(self._chaos, view)
            if lost:
                self._history.record_violation("pause", lost, view)
                view.pause = None

    def _check_final(self, runs: list[Row], cancelled: set[str]) -> None:
        """Check that a run that has ended keeps its status, and that one whose cancel was answered is Cancelled."""
        for row in runs:
            run_id, status = str(row["id"]), f"{row['status']} {row['snapshot_id'] or ''}".strip()
            view = self._history.by_id(str(row["saved_query_id"]))
            before = self._over.get(run_id)
            if before is not None and before != status:
                self._history.record_violation("run", f"run {run_id} was {before} and is {status}", view)
            if row["status"] != "Running":
                self._over[run_id] = status
            if (row["status"] == "Completed") != (row["snapshot_id"] is not None):
                self._history.record_violation(
                    "run", f"run {run_id} is {status} with snapshot {row['snapshot_id']}", view
                )
            if row["status"] == "Completed" and row["error_code"] is not None:
                self._history.record_violation(
                    "run", f"run {run_id} ended as {row['error_code']}, and then as {status}", view
                )
            if run_id in cancelled and status != "Cancelled":
                self._history.record_violation("run", f"run {run_id} was cancelled and is {status}", view)

    def _twice(self, runs: list[Row]) -> list[tuple[str, ...]]:
        """Views with two runs in status Running. A run that an operator terminated has it until the next one begins."""
        running: dict[str, list[str]] = {}
        for row in runs:
            if row["status"] == "Running":
                running.setdefault(str(row["saved_query_id"]), []).append(str(row["id"]))
        return [("two runs at a time", view, *sorted(ids)) for view, ids in running.items() if len(ids) > 1]

    async def _idle_writers(self, runs: list[Row]) -> list[tuple[str, ...]]:
        """Queries that still write for runs that have ended, and queries of two runs of one view."""
        status = {str(row["id"]): row["status"] for row in runs}
        staging = self._chaos.data / "staging"
        writing = await asyncio.to_thread(lambda: writers(self._chaos.worker_children(), staging))
        found: list[tuple[str, ...]] = []
        by_view: dict[str, set[str]] = {}
        for pid, locations in writing.items():
            for location in locations:
                _, view, attempt = location.split("/")
                run_id = attempt.rpartition("-")[0]
                by_view.setdefault(view, set()).add(run_id)
                if status.get(run_id, "Running") != "Running":
                    found.append(("a query of a run that is over", view, run_id, str(pid)))
        self._history.counts["queries seen"] += len(writing)
        return found + [("queries of two runs", view, *sorted(ids)) for view, ids in by_view.items() if len(ids) > 1]

    def _check_lasting(self, seen: set[tuple[str, ...]]) -> None:
        now = time.monotonic()
        self._since = {what: self._since.get(what, now) for what in seen}
        for what, since in self._since.items():
            if now - since > _SETTLING:
                message = f"{what[0]} for {now - since:.0f} s: {what[2:]}"
                self._history.record_violation("settling", message, self._history.by_id(what[1]))
                self._since[what] = now

    async def _check_pointers(self) -> None:
        """Check that every current snapshot has files, and is neither removed nor superseded nor of a cancelled run."""
        began = time.monotonic()
        pointers = await self._catalog.rows(
            "SELECT v.id AS view_id, s.id, s.location, s.removed_at, s.superseded_at, r.id AS run_id, r.status "
            "FROM saved_queries v JOIN snapshots s ON s.id = v.current_snapshot_id JOIN runs r ON r.id = s.run_id"
        )
        for row in pointers:
            view = self._history.by_id(str(row["view_id"]))
            there = "manifest.json" in await asyncio.to_thread(self._chaos.results.sizes, row["location"])
            wrong = row["removed_at"] or row["superseded_at"] or row["status"] != "Completed"
            if wrong or str(row["run_id"]) in self._history.cancelled:
                self._history.record_violation("pointer", f"it must not be visible: {row}", view)
            if not there and time.monotonic() - began < GRACE_SECONDS:
                self._history.record_violation("pointer", f"it is visible and has no files: {row}", view)
