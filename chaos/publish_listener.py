"""Hears the moment at which a result becomes visible: it must be whole by then, not a thousandth of a second later.

Readers who come by at random would hardly ever meet such a moment, so PostgreSQL is made to tell of each, with the
commit itself. That is also when a worker is killed now and then: what it did is done, and nobody has been told.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import psycopg

from chaos.harness import Harness

_TELL = """
CREATE FUNCTION chaos_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('chaos', NEW.id || ' ' || s.id || ' ' || s.location)
    FROM snapshots s WHERE s.id = NEW.current_snapshot_id;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_tell AFTER UPDATE OF current_snapshot_id ON saved_queries
    FOR EACH ROW EXECUTE FUNCTION chaos_tell();
"""
_KILLED_SHARE = 0.15
_BETWEEN_KILLS_OF_ONE = 12.0


class PublishListener:
    """A thread of its own, since the others are too busy to look at once. Use it as a context manager."""

    def __init__(self, chaos: Harness, soon: Callable[[Callable[[], None]], object]) -> None:
        """`soon` has something done in the thread of the others."""
        self.kills = True  # whether it kills, too
        self._chaos = chaos
        self._soon = soon
        self._url = chaos.stack.info["database_url"]
        self._random = chaos.history.random("herald")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="herald", daemon=True)

    def __enter__(self) -> Self:
        """Make PostgreSQL tell, and listen."""
        with psycopg.connect(self._url) as connection:
            connection.execute(_TELL)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._over.set()
        self._thread.join(timeout=10)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                    connection.execute("LISTEN chaos")
                    while not self._over.is_set():
                        # Taken out of the generator first: while that is open, the connection takes no statement.
                        for notice in list(connection.notifies(timeout=0.5, stop_after=1)):
                            self._hear(connection, *notice.payload.split(" "))
            except psycopg.OperationalError:
                time.sleep(0.2)

    def _hear(self, connection: psycopg.Connection, view_id: str, snapshot_id: str, location: str) -> None:
        folder = self._chaos.data / "snapshots" / location
        there = (folder / "manifest.json").exists()
        if self.kills and self._random.random() < _KILLED_SHARE:
            self._kill_a_worker()
        whole = there and self._is_whole(connection, snapshot_id, folder)
        self._soon(lambda: self._chaos.history.counts.update(["publications seen"]))
        # Nobody had time to take it away: what was replaced stays for the grace period.
        current = connection.execute(
            "SELECT current_snapshot_id FROM saved_queries WHERE id = %s", [view_id]
        ).fetchone()
        if not whole and current is not None and str(current[0]) == snapshot_id:
            history, told = self._chaos.history, f"{location} became visible before its files were there"
            self._soon(lambda: history.record_violation("publication", told, history.by_id(view_id)))

    def _is_whole(self, connection: psycopg.Connection, snapshot_id: str, folder: Path) -> bool:
        row = connection.execute("SELECT files FROM snapshots WHERE id = %s", [snapshot_id]).fetchone()
        with suppress(FileNotFoundError):
            return row is not None and all((folder / f["name"]).stat().st_size == f["bytes"] for f in row[0])
        return False

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
