"""The journey in Matview, dbt-duckdb and SQLMesh: the files and commands of each, as its documentation has them."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import ClassVar

import duckdb

import matview
from benchmarks.journey.project import (
    NEWER_SOURCES,
    PLAIN,
    RENAMED,
    RENAMED_WITH_READERS,
    SOURCES,
    UNCHANGED,
    VIEWS,
    Rows,
    data,
    path_of,
    rows_of,
    spelled,
)
from benchmarks.journey.steps import ROLLBACK, START, NoCommand, Step, Traveller
from benchmarks.peers.environments import pinned, prepare, requirements
from benchmarks.peers.subprocesses import serving
from orchestrator.devstack.home import Home

_ROOT = Path(__file__).parents[2]
_THREADS = os.cpu_count() or 1
_DATABASE = "warehouse.duckdb"
# Free ports, so that another `matview dev` of this machine is not in the way.
_PORTS = ("--port", "0", "--temporal-port", "0", "--ui-port", "0")


class Matview(Traveller):
    """Matview: sources and views in files, `matview apply`, the servers of `matview dev`."""

    key = "matview"
    title = "Matview"

    def steps(self) -> dict[str, Step | NoCommand]:
        """All steps but that of the installation."""
        tables = "".join(f"  {name}: {{format: csv, path: {path_of(name)}}}\n" for name in SOURCES)
        written = {**data(SOURCES), "sources.yml": f"tables:\n{tables}", **_files(VIEWS, self.view, "views")}
        apply, rows = "matview apply --yes", "matview view rows best"
        edit = _files(RENAMED_WITH_READERS, self.view, "views")
        refused = "! breaks buyers, which reads orders_by_customer"
        return {
            START: Step(("matview dev",)),
            "build": Step((apply,), written, shows="Completed: 8 completed"),
            "rows": Step((rows,), shows="GRACE"),
            "refresh": Step(("matview refresh --all",), data(NEWER_SOURCES)),
            "new_rows": Step((rows,), shows="ADA"),
            "refused": Step((apply,), _files(RENAMED, self.view, "views"), shows=refused, fails=True),
            "edit": Step((apply,), edit, shows="applied: 3 changed"),
            "back": Step((apply,), _files(UNCHANGED, self.view, "views"), shows="applied: 3 changed"),
            ROLLBACK: Step(
                ("matview view versions total", "matview view rollback total <id>"),
                shows="the schedule is paused",
                picks=lambda printed: printed.splitlines()[-1].split()[-3],  # the oldest version
            ),
            "resume": Step(("matview view resume total",)),
        }

    @staticmethod
    def view(name: str, sql: str) -> str:
        """The text of a view's file."""
        return f"{sql}\n" if name in PLAIN else f"/*---\nfrequency: 24hour\n---*/\n{sql}\n"

    def install(self, folder: Path) -> str:
        """Install the wheel of this tree, with the versions of its lock file."""
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
        subprocess.run(build, cwd=_ROOT, check=True, capture_output=True)  # noqa: S603 - a program of this environment
        (wheel,) = folder.glob("*.whl")
        # Without the hashes, with which pip would refuse the wheel, that has none.
        pins = re.findall(r"^[\w.-]+==[^\s;\\]+", (_ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
        (folder / "pins.txt").write_text("\n".join(pins) + "\n")
        return f"pip install --constraint pins.txt './{wheel.name}[embedded]'"

    async def programs(self) -> Path:
        """Those of this environment."""
        return Path(sys.executable).parent

    @asynccontextmanager
    async def serving(self, folder: Path, variables: Mapping[str, str]) -> AsyncIterator[object]:
        """Run `matview dev` in the folder; its beginning is over once the command has written where its API is."""

        async def is_ready(pid: int) -> bool:
            info = Home(folder / ".matview").read_info()
            return info is not None and info["pids"].get("dev") == pid

        async with serving(["matview", "dev", *_PORTS], folder, variables, is_ready) as pid:
            yield pid

    @contextmanager
    def reading(self, folder: Path) -> Iterator[Callable[[str], Rows]]:
        """Read over HTTP, as a client in Python does."""
        info = Home(folder / ".matview").read_info()
        if info is None:
            raise matview.MatviewError("no stack runs in the folder", code="not_running")
        key, project = info["api_key"], int(info["project_id"])
        with matview.connect(info["api_url"], key, project=project) as client, duckdb.connect() as connection:

            def rows(view: str) -> Rows:
                found = client.query(f"SELECT * FROM {view}")  # noqa: S608 - names that this program chose
                connection.register("found", found.to_arrow())
                return rows_of(connection, "found")

            yield rows


class InOneFile(Traveller):
    """A tool that writes tables into a DuckDB file, with a command that begins, works and ends."""

    table_schema: str

    def install(self, folder: Path) -> str:
        """Install the pinned versions. Nothing is resolved, as the list has all that is needed."""
        (folder / "pins.txt").write_text(requirements(self.key).read_text())
        return "pip install --no-deps --requirement pins.txt"

    async def programs(self) -> Path:
        """Those of the environment that `make bench-peers` keeps, which is made if it is missing."""
        return await prepare(self.key)

    @contextmanager
    def reading(self, folder: Path) -> Iterator[Callable[[str], Rows]]:
        """Read the DuckDB file. Views of it name the source files by a path that begins at the project."""
        with duckdb.connect(folder / _DATABASE, read_only=True) as connection:
            connection.execute("SET file_search_path = ?", [str(folder)])
            yield lambda view: rows_of(connection, f"{self.table_schema}.{view}")


class Dbt(InOneFile):
    """dbt Core with dbt-duckdb: source files by `external_location`, a model for each view.

    An edit is tried first in a second target with `--empty`, which dbt's documentation has for that: without it, `dbt
    run` replaces the edited table and then fails at its readers.
    """

    key = "dbt"
    title = f"dbt-duckdb {pinned('dbt', 'dbt-duckdb')}"
    quiet: ClassVar[Mapping[str, str]] = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    table_schema = "main"

    def steps(self) -> dict[str, Step | NoCommand]:
        """All steps but that of the installation."""
        sources = "".join(f"      - name: {name}\n" for name in SOURCES)
        location = f"    config: {{meta: {{external_location: {path_of('{name}')!r}}}}}\n"
        target = "{{type: duckdb, path: {path}, threads: {threads}}}"
        targets = "".join(
            f"    {name}: {target.format(path=path, threads=_THREADS)}\n"
            for name, path in {"prod": _DATABASE, "check": "check.duckdb"}.items()
        )
        written = {
            **data(SOURCES),
            "dbt_project.yml": "name: shop\nprofile: shop\nmodels:\n  +materialized: table\n",
            "profiles.yml": f"shop:\n  target: prod\n  outputs:\n{targets}",
            "models/sources.yml": f"sources:\n  - name: files\n{location}    tables:\n{sources}",
            **_files(VIEWS, self.model, "models"),
        }
        run, rows = "dbt run", """dbt show --inline "select * from {{ ref('best') }}\""""
        return {
            START: Step(),
            "build": Step((run,), written, shows="PASS=10"),
            "rows": Step((rows,), shows="GRACE"),
            "refresh": Step((run,), data(NEWER_SOURCES), shows="PASS=10"),
            "new_rows": Step((rows,), shows="ADA"),
            "refused": Step(
                ("dbt run --empty --target check",),
                _files(RENAMED, self.model, "models"),
                shows="in model buyers",
                fails=True,
            ),
            "edit": Step((run,), _files(RENAMED_WITH_READERS, self.model, "models"), shows="PASS=10"),
            "back": Step((run,), _files(UNCHANGED, self.model, "models"), shows="PASS=10"),
            ROLLBACK: NoCommand(
                "a run replaces the table, and no earlier result is kept; earlier files compute from the data of now"
            ),
            "resume": NoCommand("dbt Core has no schedules; cron or another scheduler calls it"),
        }

    @staticmethod
    def model(name: str, sql: str) -> str:
        """The text of a model's file."""
        head = "{{ config(materialized='view') }}\n" if name in PLAIN else ""
        body = spelled(
            sql, lambda view: f"{{{{ ref('{view}') }}}}", lambda source: f"{{{{ source('files', '{source}') }}}}"
        )
        return f"{head}{body}\n"


class SQLMesh(InOneFile):
    """SQLMesh: models of the kinds FULL and VIEW, whose staging models read the source files with `read_csv`.

    New data in the same interval is read when a model is restated, with all that is below it. An edit is refused
    because the plan builds the new tables first, and moves the environment to them only when all could be built.
    """

    key = "sqlmesh"
    title = f"SQLMesh {pinned('sqlmesh', 'sqlmesh')}"
    quiet: ClassVar[Mapping[str, str]] = {"SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true"}
    table_schema = "shop"

    def steps(self) -> dict[str, Step | NoCommand]:
        """All steps but that of the installation."""
        connection = f"{{type: duckdb, database: {_DATABASE}, concurrent_tasks: {_THREADS}}}"
        config = (
            f"gateways:\n  local:\n    connection: {connection}\ndefault_gateway: local\n"
            'model_defaults: {dialect: duckdb, start: "2026-01-01", cron: "@daily"}\n'
        )
        written = {**data(SOURCES), "config.yaml": config, **_files(VIEWS, self.model, "models")}
        plan, rows = "sqlmesh plan --auto-apply --no-prompts", 'sqlmesh fetchdf "SELECT * FROM shop.best"'
        moved = "Virtual layer updated"
        return {
            START: Step(),
            "build": Step((plan,), written, shows=moved),
            "rows": Step((rows,), shows="GRACE"),
            "refresh": Step((f"{plan} --restate-model shop.stg_orders",), data(NEWER_SOURCES)),
            "new_rows": Step((rows,), shows="ADA"),
            "refused": Step((plan,), _files(RENAMED, self.model, "models"), shows='"shop"."buyers"', fails=True),
            "edit": Step((plan,), _files(RENAMED_WITH_READERS, self.model, "models"), shows=moved),
            "back": Step((plan,), _files(UNCHANGED, self.model, "models"), shows=moved),
            ROLLBACK: NoCommand(
                "a restatement replaces the rows of the table; `sqlmesh rollback` takes back a migration of its own "
                "state, and earlier files bring back earlier queries only"
            ),
            "resume": NoCommand("a schedule cannot be paused: cron or another scheduler calls `sqlmesh run`"),
        }

    @staticmethod
    def model(name: str, sql: str) -> str:
        """The text of a model's file."""
        body = spelled(sql, lambda view: f"shop.{view}", lambda source: f"read_csv('{path_of(source)}')")
        return f"MODEL (name shop.{name}, kind {'VIEW' if name in PLAIN else 'FULL'});\n\n{body}\n"


TRAVELLERS: dict[str, type[Traveller]] = {one.key: one for one in (Matview, Dbt, SQLMesh)}


def _files(views: Mapping[str, str], text: Callable[[str, str], str], folder: str) -> dict[str, str]:
    """The file of each view by its path."""
    return {f"{folder}/{name}.sql": text(name, sql) for name, sql in views.items()}
