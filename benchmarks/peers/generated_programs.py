"""The programs that Dagster and Prefect run in their environments; both read `views.json` beside them."""

import json
from pathlib import Path

from benchmarks.peers.workloads import Workload

# The options are those of plain DuckDB, which the author of such a function is free to choose.
WRITER = """\
import json
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
PLAN = json.loads((HERE / "views.json").read_text())
connection = duckdb.connect(config={"threads": PLAN["threads"], "preserve_insertion_order": False})


def write(view):
    options = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION V2"
    connection.cursor().execute(f"COPY ({view['sql']}) TO '{view['file']}' ({options})")
"""

DAGSTER = f"""\
{WRITER}

import dagster


def asset(view):
    @dagster.asset(name=view["name"], deps=view["reads"])
    def materialize() -> None:
        write(view)

    return materialize


definitions = dagster.Definitions(
    assets=[asset(view) for view in PLAN["views"]], executor=dagster.in_process_executor
)
"""

PREFECT = f"""\
{WRITER}

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner


@task
def materialize(view):
    write(view)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=PLAN["threads"]))
def refresh():
    made = {{}}
    for view in PLAN["views"]:
        made[view["name"]] = materialize.submit(view, wait_for=[made[name] for name in view["reads"]])
    for future in made.values():
        future.result()


if __name__ == "__main__":
    refresh()
"""


def plan(workload: Workload, output: Path, threads: int) -> str:
    """The content of `views.json`: for each view its SQL, which reads files, its own file, and the views it reads."""
    files = {view.name: f"{output}/{view.name}.parquet" for view in workload.views}
    views = [
        {
            "name": view.name,
            "sql": view.render(lambda name: f"read_parquet('{files[name]}')"),
            "file": files[view.name],
            "reads": view.reads,
        }
        for view in workload.views
    ]
    return json.dumps({"threads": threads, "views": views}, indent=1) + "\n"
