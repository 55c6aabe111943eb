"""dbt Core with dbt-duckdb: `dbt run` of a project in which each view is a model, materialized as a table."""

from pathlib import Path

from benchmarks.common import timed
from benchmarks.peers.competitor import InDatabase
from benchmarks.peers.environments import pinned
from benchmarks.peers.subprocesses import environment, run
from benchmarks.peers.workloads import View

_PROJECT = """\
name: views
version: "1.0"
config-version: 2
profile: views
model-paths: [models]
models:
  +materialized: table
flags:
  send_anonymous_usage_stats: false
"""
_PROFILE = """\
views:
  target: here
  outputs:
    here: {{type: duckdb, path: {database}, threads: {threads}}}
"""


def model(view: View) -> str:
    """The text of a view's model file for dbt."""
    return view.render(lambda name: f"{{{{ ref('{name}') }}}}") + "\n"


class Dbt(InDatabase):
    """dbt, started for every refresh. It reuses the parsed project of the run before."""

    title = f"dbt-duckdb {pinned('dbt', 'dbt-duckdb')}"
    writes = "tables in its DuckDB file"
    table_schema = view_schema = "main"

    def prepare(self) -> None:
        """Write the project, its profile and the models."""
        (self.folder / "models").mkdir(parents=True)
        (self.folder / "dbt_project.yml").write_text(_PROJECT)
        (self.folder / "profiles.yml").write_text(_PROFILE.format(database=self.database.name, threads=self.threads))
        for view in self.workload.views:
            (self.folder / "models" / f"{view.name}.sql").write_text(model(view))

    async def refresh(self) -> float:
        """Run all models."""
        variables = environment(self.folder, self.binaries, DBT_SEND_ANONYMOUS_USAGE_STATS="false")
        command: list[str | Path] = [self.binaries / "dbt", "run", "--profiles-dir", "."]
        return await timed(lambda: run(command, self.folder, variables))
