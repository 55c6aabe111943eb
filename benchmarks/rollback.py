"""Measures how long a rollback takes while readers read all the time, and checks that they never read a mix."""

import asyncio
import itertools
import threading
from pathlib import Path
from uuid import UUID

import psycopg
import pyarrow.parquet as pq
import xxhash

from benchmarks.common import Api, Measurement, say, show, timed
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

_POINTER = """
SELECT s.id, s.location, s.files FROM saved_queries v JOIN snapshots s ON s.id = v.current_snapshot_id WHERE v.id = %s
"""


class Reader(threading.Thread):
    """Reads the current snapshot of a view again and again, and compares every file with its digest."""

    def __init__(self, stack: DevStack, view_id: str, over: threading.Event) -> None:
        super().__init__()
        self._stack, self._view_id, self._over = stack, view_id, over
        self.reads: dict[UUID, int] = {}
        self.problems: list[str] = []

    def run(self) -> None:
        """Read until the event `over` is set."""
        folder = Path(self._stack.info["data_dir"]) / "snapshots"
        with psycopg.connect(self._stack.info["database_url"], autocommit=True) as connection:
            while not self._over.is_set():
                row = connection.execute(_POINTER, [self._view_id]).fetchone()
                if row is None:
                    self.problems.append("there is no current version")
                    continue
                self._read(folder / row[1], row[2])
                self.reads[row[0]] = self.reads.get(row[0], 0) + 1

    def _read(self, folder: Path, files: list[dict[str, str]]) -> None:
        versions = set()
        for file in files:
            content = (folder / file["name"]).read_bytes()
            if f"xxh128:{xxhash.xxh3_128_hexdigest(content)}" != file["digest"]:
                self.problems.append(f"{file['name']} is not what its digest says")
            versions |= set(pq.read_table(folder / file["name"], columns=["version"])["version"].to_pylist())
        if len(versions) != 1:
            self.problems.append(f"a read of several versions: {versions}")


async def measure(folder: Path, rollbacks: int, readers: int) -> list[Measurement]:
    """Roll back and forth between two versions while readers read."""
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        api = Api(stack)
        view_id = await api.materialized("v", _version(1))
        await api.edit(view_id, _version(2))
        await api.run(view_id)
        path = f"/warehouse_saved_queries/{view_id}"
        versions = [one["id"] for one in (await api.call("GET", f"{path}/snapshots/"))["results"]]
        over = threading.Event()
        reading = [Reader(stack, view_id, over) for _ in range(readers)]
        for reader in reading:
            reader.start()
        seconds = []
        for version in itertools.islice(itertools.cycle(reversed(versions)), rollbacks):
            body = {"snapshot_id": version, "pause_schedule": False}
            seconds.append(await timed(lambda body=body: api.call("POST", f"{path}/rollback/", body)))  # type: ignore[misc]
            await asyncio.sleep(0.01)
        over.set()
        for reader in reading:
            await asyncio.to_thread(reader.join)
    problems = [problem for reader in reading for problem in reader.problems]
    if problems:
        raise RuntimeError(f"{len(problems)} bad reads, the first: {problems[0]}")
    figures = [Measurement("a rollback", [1000 * one for one in seconds], "ms")]
    show("Rollback, from the call of the API to its answer", figures, percentiles=True)
    reads = sum(sum(reader.reads.values()) for reader in reading)
    say(f"{reads} reads by {readers} concurrent readers: no error, no mix of versions, every digest right")
    return figures


def _version(number: int) -> str:
    return f"SELECT {number} AS version, i, md5(i::VARCHAR) AS m FROM range(100000) t(i)"  # noqa: S608 - a number
