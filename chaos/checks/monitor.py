"""What has to be true at every moment, looked at again and again while everything breaks."""

import asyncio
import time
from contextlib import suppress

from chaos.catalog import Catalog, Row, Unavailable
from chaos.harness import GRACE_SECONDS, Harness
from chaos.operators import pause_lost
from chaos.processes import writers

_PAUSE = 1.0
# How long what an operator or a death left behind may stay: long enough for servers to come back and to find out.
_SETTLING = 60.0


class Monitor:
    """Looks at runs, pointers, processes and pauses."""

    def __init__(self, chaos: Harness) -> None:
        self._chaos = chaos
        self._world = chaos.history
        self._catalog = Catalog(chaos.stack.info["database_url"])
        self._over: dict[str, str] = {}  # the final status of each run that has one
        self._since: dict[tuple[str, ...], float] = {}  # how long something that must pass has been seen

    async def watch(self) -> None:
        """Look until the world stops."""
        try:
            while True:
                await asyncio.sleep(_PAUSE)
                with suppress(Unavailable):
                    await self.look()
        finally:
            await self._catalog.close()

    async def look(self) -> None:
        """Look once. Raises Away."""
        self._world.counts["looks"] += 1
        cancelled = set(self._world.cancelled)  # before: a cancel may be answered while the rows are on their way
        runs = await self._catalog.rows("SELECT id, saved_query_id, status, snapshot_id, error_code FROM runs")
        self._check_final(runs, cancelled)
        seen = {*self._twice(runs), *await self._idle_writers(runs)}
        self._check_lasting(seen)
        await self._check_pointers()
        for view in self._world.views:
            lost = await pause_lost(self._chaos, view)
            if lost:
                self._world.record_violation("pause", lost, view)
                view.pause = None

    def _check_final(self, runs: list[Row], cancelled: set[str]) -> None:
        """A run that is over stays as it is, and one whose cancel was answered is Cancelled."""
        for row in runs:
            run_id, status = str(row["id"]), f"{row['status']} {row['snapshot_id'] or ''}".strip()
            view = self._world.by_id(str(row["saved_query_id"]))
            before = self._over.get(run_id)
            if before is not None and before != status:
                self._world.record_violation("run", f"run {run_id} was {before} and is {status}", view)
            if row["status"] != "Running":
                self._over[run_id] = status
            if (row["status"] == "Completed") != (row["snapshot_id"] is not None):
                self._world.record_violation(
                    "run", f"run {run_id} is {status} with snapshot {row['snapshot_id']}", view
                )
            if row["status"] == "Completed" and row["error_code"] is not None:
                self._world.record_violation(
                    "run", f"run {run_id} ended as {row['error_code']}, and then as {status}", view
                )
            if run_id in cancelled and status != "Cancelled":
                self._world.record_violation("run", f"run {run_id} was cancelled and is {status}", view)

    def _twice(self, runs: list[Row]) -> list[tuple[str, ...]]:
        """Views of which two runs are called Running: an operator's terminate leaves one so until the next begins."""
        running: dict[str, list[str]] = {}
        for row in runs:
            if row["status"] == "Running":
                running.setdefault(str(row["saved_query_id"]), []).append(str(row["id"]))
        return [("two runs at a time", view, *sorted(ids)) for view, ids in running.items() if len(ids) > 1]

    async def _idle_writers(self, runs: list[Row]) -> list[tuple[str, ...]]:
        """Queries of runs that are over, and queries of two runs of one view."""
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
        self._world.counts["queries seen"] += len(writing)
        return found + [("queries of two runs", view, *sorted(ids)) for view, ids in by_view.items() if len(ids) > 1]

    def _check_lasting(self, seen: set[tuple[str, ...]]) -> None:
        now = time.monotonic()
        self._since = {what: self._since.get(what, now) for what in seen}
        for what, since in self._since.items():
            if now - since > _SETTLING:
                told = f"{what[0]} for {now - since:.0f} s: {what[2:]}"
                self._world.record_violation("settling", told, self._world.by_id(what[1]))
                self._since[what] = now

    async def _check_pointers(self) -> None:
        """What is visible is there, and nobody has taken it away."""
        began = time.monotonic()
        pointers = await self._catalog.rows(
            "SELECT v.id AS view_id, s.id, s.location, s.removed_at, s.superseded_at, r.id AS run_id, r.status "
            "FROM saved_queries v JOIN snapshots s ON s.id = v.current_snapshot_id JOIN runs r ON r.id = s.run_id"
        )
        for row in pointers:
            view = self._world.by_id(str(row["view_id"]))
            folder = self._chaos.data / "snapshots" / row["location"]
            there = await asyncio.to_thread((folder / "manifest.json").exists)
            wrong = row["removed_at"] or row["superseded_at"] or row["status"] != "Completed"
            if wrong or str(row["run_id"]) in self._world.cancelled:
                self._world.record_violation("pointer", f"it must not be visible: {row}", view)
            if not there and time.monotonic() - began < GRACE_SECONDS:
                self._world.record_violation("pointer", f"it is visible and has no files: {row}", view)
