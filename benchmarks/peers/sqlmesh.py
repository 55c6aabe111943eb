"""SQLMesh: `sqlmesh plan` of a project in which each view is a FULL model."""

from pathlib import Path

from benchmarks.common import timed
from benchmarks.peers.competitor import InDatabase
from benchmarks.peers.environments import pinned
from benchmarks.peers.subprocesses import environment, run
from benchmarks.peers.workloads import View

_SCHEMA = "views"
_CONFIG = """\
gateways:
  local:
    connection: {{type: duckdb, database: {database}, concurrent_tasks: {threads}}}
default_gateway: local
model_defaults: {{dialect: duckdb, start: "2026-01-01", cron: "@daily"}}
"""


def model(view: View) -> str:
    """The text of a view's model file for SQLMesh."""
    return f"MODEL (name {_SCHEMA}.{view.name}, kind FULL);\n\n{view.render(lambda name: f'{_SCHEMA}.{name}')}\n"


class SQLMesh(InDatabase):
    """SQLMesh, started for every refresh with `--restate-model`: otherwise it would see that nothing has changed."""

    title = f"SQLMesh {pinned('sqlmesh', 'sqlmesh')}"
    writes = "tables in its DuckDB file"
    table_schema, view_schema = f"sqlmesh__{_SCHEMA}", _SCHEMA

    def prepare(self) -> None:
        """Write the configuration and the models."""
        (self.folder / "models").mkdir(parents=True)
        (self.folder / "config.yaml").write_text(_CONFIG.format(database=self.database.name, threads=self.threads))
        for view in self.workload.views:
            (self.folder / "models" / f"{view.name}.sql").write_text(model(view))

    async def build(self) -> None:
        """Apply the first plan."""
        await self._plan()

    async def refresh(self) -> float:
        """Apply a plan that restates every model; the first plan must not restate any."""
        return await timed(lambda: self._plan(*(["--restate-model", "*"] if self.database.exists() else [])))

    async def _plan(self, *options: str) -> None:
        variables = environment(self.folder, self.binaries, SQLMESH__DISABLE_ANONYMIZED_ANALYTICS="true")
        command: list[str | Path] = [self.binaries / "sqlmesh", "plan", "--auto-apply", "--no-prompts", "--skip-tests"]
        await run([*command, *options], self.folder, variables)
