"""Prefect: a flow in which each view is a task that writes Parquet through DuckDB, and the server behind it."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx

from benchmarks.common import timed
from benchmarks.peers.competitor import InParquet
from benchmarks.peers.environments import pinned
from benchmarks.peers.generated_programs import PREFECT, plan
from benchmarks.peers.subprocesses import environment, run, serving
from orchestrator.devstack.ports import LOOPBACK, choose_ports


class Prefect(InParquet):
    """Prefect, whose server keeps running, while the flow is a program that is started for every refresh."""

    title = f"Prefect {pinned('prefect', 'prefect')}"
    writes = "Parquet"
    keeps_running = True
    _port = 0

    def prepare(self) -> None:
        """Write the flow and the views."""
        self.folder.mkdir(parents=True)
        (self.folder / "flow.py").write_text(PREFECT)
        (self.folder / "views.json").write_text(plan(self.workload, self.output, self.threads))
        self.output.mkdir()

    def serving(self) -> AbstractAsyncContextManager[object]:
        """Run the server on a free port, with its own SQLite file."""
        (self._port,) = choose_ports({"the server of Prefect": 0})
        command: list[str | Path] = [self.binaries / "prefect", "server", "start", "--no-ui", "--host", LOOPBACK]
        return serving([*command, "--port", str(self._port)], self.folder, self._variables(), self._answers)

    async def refresh(self) -> float:
        """Run the flow."""
        return await timed(lambda: run([self.binaries / "python", "flow.py"], self.folder, self._variables()))

    async def _answers(self, _: int) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://{LOOPBACK}:{self._port}/api/health")).is_success
            except httpx.TransportError:
                return False

    def _variables(self) -> dict[str, str]:
        return environment(
            self.folder,
            self.binaries,
            PREFECT_HOME=str(self.folder / "prefect"),
            PREFECT_API_URL=f"http://{LOOPBACK}:{self._port}/api",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
        )
