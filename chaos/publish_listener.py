"""Checks each result at the moment at which it becomes visible: it must be whole by then, not a millisecond later.

Readers at random times would hardly ever meet such a moment. So a trigger notifies this listener of each, with the
commit itself. Sometimes the listener then kills a worker, which may not have reported the publication to Temporal yet.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import psycopg

from chaos.harness import Harness

_NOTIFY = """
CREATE FUNCTION chaos_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('chaos', NEW.id || ' ' || s.id || ' ' || s.location)
    FROM snapshots s WHERE s.id = NEW.current_snapshot_id;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_notify AFTER UPDATE OF current_snapshot_id ON saved_queries
    FOR EACH ROW EXECUTE FUNCTION chaos_notify();
"""
_KILLED_SHARE = 0.15
_BETWEEN_KILLS_OF_ONE = 12.0


class PublishListener:
    """Listens in its own thread, since the event loop is too busy to react at once. Use it as a context manager."""

    def __init__(self, chaos: Harness, soon: Callable[[Callable[[], None]], object]) -> None:
        """`soon` schedules a call in the thread of the event loop."""
        self.kills = True  # whether it also kills workers
        self._chaos = chaos
        self._soon = soon
        self._url = chaos.stack.info["database_url"]
        self._random = chaos.history.random("publish listener")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="publish listener", daemon=True)

    def __enter__(self) -> Self:
        """Create the trigger in PostgreSQL, and start to listen."""
        with psycopg.connect(self._url) as connection:
            connection.execute(_NOTIFY)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._over.set()
        self._thread.join(timeout=10)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                    connection.execute("LISTEN chaos")
                    while not self._over.is_set():
                        # Copied to a list first: while the generator is open, the connection takes no statement.
                        for notice in list(connection.notifies(timeout=0.5, stop_after=1)):
                            self._hear(connection, *notice.payload.split(" "))
            except psycopg.OperationalError:
                time.sleep(0.2)

    def _hear(self, connection: psycopg.Connection, view_id: str, snapshot_id: str, location: str) -> None:
        there = "manifest.json" in self._chaos.results.sizes(location)
        if self.kills and self._random.random() < _KILLED_SHARE:
            self._kill_a_worker()
        whole = there and self._is_whole(connection, snapshot_id, location)
        self._soon(lambda: self._chaos.history.counts.update(["publications seen"]))
        # A snapshot that is still current cannot have been removed: one that was replaced is kept for the grace period.
        current = connection.execute(
            "SELECT current_snapshot_id FROM saved_queries WHERE id = %s", [view_id]
        ).fetchone()
        if not whole and current is not None and str(current[0]) == snapshot_id:
            history, message = self._chaos.history, f"{location} became visible before its files were there"
            self._soon(lambda: history.record_violation("publication", message, history.by_id(view_id)))

    def _is_whole(self, connection: psycopg.Connection, snapshot_id: str, location: str) -> bool:
        row = connection.execute("SELECT files FROM snapshots WHERE id = %s", [snapshot_id]).fetchone()
        sizes = self._chaos.results.sizes(location)
        return row is not None and all(sizes.get(file["name"]) == file["bytes"] for file in row[0])

    def _kill_a_worker(self) -> None:
        name = self._random.choice(self._chaos.workers)
        pid, killed = self._chaos.pid(name), self._chaos.history.killed
        if pid is None or time.monotonic() - killed.get(name, -_BETWEEN_KILLS_OF_ONE) < _BETWEEN_KILLS_OF_ONE:
            return
        killed[name] = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        history = self._chaos.history
        self._soon(lambda: history.note(None, f"kill -9 {name}, which may just have published"))
        self._soon(lambda: history.counts.update(["kills/worker, at a publication"]))
