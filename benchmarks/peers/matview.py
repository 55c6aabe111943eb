"""The two that the peers are compared with: plain DuckDB, which is the floor, and the product on an embedded stack."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import duckdb
import psycopg

from benchmarks.baseline import plain
from benchmarks.common import Api, timed
from benchmarks.peers.competitor import Competitor, InParquet, Relations
from benchmarks.peers.subprocesses import environment, run, serving
from benchmarks.peers.workloads import Workload
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.home import DevInfo, Home
from orchestrator.devstack.stack import DevStack

_ROOT = Path(__file__).parents[2]
_PROGRAMS = Path(sys.executable).parent
_LOOK_SECONDS = 0.05
_PORTS = ("--port", "0", "--temporal-port", "0", "--ui-port", "0")
_CURRENT = "SELECT v.name, s.location, s.files FROM saved_queries v JOIN snapshots s ON s.id = v.current_snapshot_id"


class Plain(InParquet):
    """Plain DuckDB in this process, one statement after the other; for a cold start in a process of its own."""

    title = f"plain DuckDB {duckdb.__version__}"
    writes = "Parquet"

    @property
    def pattern(self) -> str:
        """A folder for each view, as the product has one for each snapshot."""
        return "{view}/*.parquet"

    def prepare(self) -> None:
        """Make the folder."""
        self.output.mkdir(parents=True)

    async def refresh(self) -> float:
        """Copy everything."""
        return await timed(lambda: asyncio.to_thread(self._copy_all))

    async def cold(self) -> float:
        """Copy the first view, from the shell's command to the end of the process."""
        view = self.workload.views[0]
        variables = environment(self.folder, self.binaries, PYTHONPATH=str(_ROOT))
        command: list[str | Path] = [sys.executable, "-m", "benchmarks.baseline", view.sql, self.output / view.name]
        return await timed(lambda: run(command, self.folder, variables))

    def _copy_all(self) -> None:
        for view in self.workload.views:
            sources = {name: self.output / self.pattern.format(view=name) for name in view.reads}
            plain(view.render(lambda name: name), self.output / view.name, sources)


class Client(Api):
    """A client of the API that is closed with its stack."""

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


class Product(Competitor):
    """Matview through its API: every run has its workflow, its history and a version for rollbacks."""

    title = "Matview"
    writes = "Parquet, flushed to the disk, old versions kept"
    keeps_running = True
    _api: Client
    _info: DevInfo

    def __init__(self, workload: Workload, folder: Path, binaries: Path) -> None:
        super().__init__(workload, folder, binaries)
        self._home = folder / "stack"
        self._ids: dict[str, str] = {}
        self._runs = 0  # how many runs the view of a cold start has had
        self._files: dict[str, list[str]] = {}

    def prepare(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[object]:
        """Run the embedded stack."""
        async with DevStack(self._home, bootstrap=bootstrap, say=lambda _: None) as stack:
            self._use(stack.info)
            try:
                yield stack
            finally:
                await self._api.close()

    async def build(self) -> None:
        """Create the views and run each for the first time, layer by layer."""
        for layer in self.workload.layers:
            ids = await self._api.all_materialized({view.name: view.render(lambda name: name) for view in layer})
            self._ids |= dict(zip([view.name for view in layer], ids, strict=True))
        await asyncio.to_thread(self._look_up)

    async def refresh(self) -> float:
        """Refresh everything as one, also what has not changed, as the peers do."""
        seconds, _ = await self._api.refresh({"all": True}, force=True)
        await asyncio.to_thread(self._look_up)
        return seconds

    async def cold(self) -> float:
        """Start `matview dev`, and run the first view as soon as `dev.json` has the address of the API."""
        variables = environment(self.folder, _PROGRAMS)
        command: list[str | Path] = [_PROGRAMS / "matview", "dev", "--home", self._home, *_PORTS]
        began = time.time()
        async with serving(command, self.folder, variables, self._is_ready):
            view = self.workload.views[0]
            if view.name in self._ids:
                await self._api.call(
                    "POST", f"/warehouse_saved_queries/{self._ids[view.name]}/run/", {"full_refresh": True}
                )
            else:
                self._ids[view.name] = await self._api.create(view.name, view.sql)
                await self._api.call("POST", f"/warehouse_saved_queries/{self._ids[view.name]}/materialize/")
            self._runs += 1
            ended = await self._api.ended(self._ids[view.name], runs=self._runs)
            await asyncio.to_thread(self._look_up)
            await self._api.close()
        return ended - began

    def spoil(self) -> None:
        """Delete no files: every run makes a snapshot of its own, and one that makes none raises an error."""
        self._files = {}

    @contextmanager
    def relations(self) -> Iterator[Relations]:
        """A connection that reads the files that were current after the last refresh."""
        with duckdb.connect() as connection:
            yield connection, lambda view: f"read_parquet({self._files[view]})"

    async def _is_ready(self, pid: int) -> bool:
        info = Home(self._home).read_info()
        if info is None or info["pids"].get("dev") != pid:
            return False  # an earlier start wrote this file
        self._use(info)
        return True

    def _use(self, info: DevInfo) -> None:
        self._info, self._api = info, Client(info)

    def _look_up(self) -> None:
        """Read the files of the current snapshots from the catalog, which must be running."""
        folder = Path(self._info["data_dir"]) / "snapshots"
        with psycopg.connect(self._info["database_url"]) as connection:
            for name, location, files in connection.execute(_CURRENT).fetchall():
                self._files[name] = [str(folder / location / file["name"]) for file in files]
