"""Dagster: `dagster asset materialize` of assets whose functions write Parquet through DuckDB."""

from pathlib import Path

from benchmarks.common import timed
from benchmarks.peers.competitor import InParquet
from benchmarks.peers.environments import pinned
from benchmarks.peers.generated_programs import DAGSTER, plan
from benchmarks.peers.subprocesses import environment, run

_INSTANCE = "telemetry: {enabled: false}\n"


class Dagster(InParquet):
    """Dagster, started for every refresh. All assets run in its process: a process for each takes far longer."""

    title = f"Dagster {pinned('dagster', 'dagster')}"
    writes = "Parquet"

    def prepare(self) -> None:
        """Write the settings of the instance, the assets and the views."""
        (self.folder / "instance").mkdir(parents=True)
        (self.folder / "instance" / "dagster.yaml").write_text(_INSTANCE)
        (self.folder / "definitions.py").write_text(DAGSTER)
        (self.folder / "views.json").write_text(plan(self.workload, self.output, self.threads))
        self.output.mkdir()

    async def refresh(self) -> float:
        """Materialize all assets."""
        variables = environment(self.folder, self.binaries, DAGSTER_HOME=str(self.folder / "instance"))
        command: list[str | Path] = [self.binaries / "dagster", "asset", "materialize", "-f", "definitions.py"]
        return await timed(lambda: run([*command, "--select", "*"], self.folder, variables))
