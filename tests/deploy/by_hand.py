"""The containers of docker-compose.yml as processes of this machine: `python -m tests.deploy.by_hand [--wheel]`.

Each command, variable and health check is the one that the file has; only addresses and folders are those of this
machine. In place of Temporal's server on PostgreSQL stands the one made for development, the only one that comes as
a package; temporal-schema, Prometheus and Grafana are left out for the same reason.

With --wheel, the program is installed as the Dockerfile does it, into a new environment; else it is this checkout.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psycopg
import pytest

from orchestrator.devstack.logs import Log
from orchestrator.devstack.ports import LOOPBACK
from orchestrator.devstack.postgres import as_reader, binary
from orchestrator.devstack.processes import describe_exit, run_once, spawn
from tests.deploy.machine import PASSWORD, PATIENCE, Machine, give, log_of
from tests.deploy.support import ROOT, Json, raw

WORKERS = 2


async def start_postgres(machine: Machine) -> None:
    """Make a cluster, start the server and run the scripts, as the entry point of the image does."""
    cluster, sockets, word = machine.path("cluster"), machine.path("socket"), machine.path("password")
    word.write_text(PASSWORD)
    cluster.mkdir()
    for place in (cluster, sockets, word):
        give(place, "65534:65534")
    privileges = as_reader(65534, 65534) if os.geteuid() == 0 else ()
    plain = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    options = (
        "--username=postgres",
        f"--pwfile={word}",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--no-sync",
    )
    initdb = (str(binary("initdb")), "-D", str(cluster), *options)
    await run_once("initdb", initdb, Log(machine.path("log") / "initdb.log"), plain, privileges=privileges)

    _, *given = machine.services["postgres"]["command"]
    places = ("-D", str(cluster), "-k", str(sockets), "-h", LOOPBACK, "-p", str(machine.ports["postgres"]))
    log = Log(machine.path("log") / "postgres.log")
    argv = [str(binary("postgres")), *places, *given]
    machine.running["postgres"] = await spawn(argv, log, plain, privileges=privileges, directory=cluster)
    test = [*machine.services["postgres"]["healthcheck"]["test"], f"--port={machine.ports['postgres']}"]
    await machine.healthy("postgres", "postgres", test)

    local = {"PGHOST": str(sockets), "PGPORT": str(machine.ports["postgres"])}
    env = machine.variables("postgres") | local
    roles = ["sh", str(ROOT / "deploy/postgres/roles.sh")]
    await run_once("roles.sh", roles, Log(machine.path("log") / "roles.log"), env)
    await try_temporals_role(machine)


async def try_temporals_role(machine: Machine) -> None:
    """Assert that Temporal's role can make the server's schema in its databases, and cannot reach the catalog's."""
    server = machine.variables("temporal")

    async def connect(database: str) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            host=LOOPBACK,
            port=machine.ports["postgres"],
            user=server["POSTGRES_USER"],
            password=server["POSTGRES_PWD"],
            dbname=database,
        )

    for name in (server["DBNAME"], server["VISIBILITY_DBNAME"]):
        async with await connect(name) as connection:
            await connection.execute("CREATE EXTENSION btree_gin; CREATE TABLE executions_visibility ()")
            await connection.rollback()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        await connect("matview")


async def start_temporal(machine: Machine) -> None:
    """Start Temporal's development server with the flags of the file, and then make the namespace."""
    ports = ("--port", str(machine.ports["temporal"]), "--ui-port", str(machine.ports["temporal-ui"]))
    flags = raw(ROOT / "deploy/temporal/dynamic-config.yml")
    config = [f"{name}={json.dumps(value['value'])}" for name, (value,) in flags.items()]
    argv = ["temporal", "server", "start-dev", "--ip", LOOPBACK, *ports, "--log-level", "warn"]
    await machine.start(
        "temporal-ui", "temporal", [*argv, *(w for one in config for w in ("--dynamic-config-value", one))]
    )
    await machine.run("temporal-namespace", "sh", str(ROOT / "deploy/temporal/namespace.sh"))
    again = await machine.run("temporal-namespace", "sh", str(ROOT / "deploy/temporal/namespace.sh"))
    assert "update succeeded" in again, again
    if shutil.which("wget"):
        await machine.healthy("temporal-ui", "temporal")


async def start_matview(machine: Machine) -> None:
    await machine.run("migrate", "matview", *machine.services["migrate"]["command"])
    await machine.run("migrate", "matview", *machine.services["migrate"]["command"])
    await machine.start("api", "api", ["matview", *machine.services["api"]["command"]])
    for number in range(1, WORKERS + 1):
        await machine.start("worker", f"worker{number}", ["matview", *machine.services["worker"]["command"]])
    await machine.healthy("api", "api")
    for number in range(1, WORKERS + 1):
        await machine.healthy("worker", f"worker{number}")


async def use_it(machine: Machine) -> None:
    """Do the steps that docs/deploying.md has for a first user, and read the rows."""
    project = (await machine.run("api", "matview", "project", "create", "analytics")).strip()
    said = await machine.run("api", "matview", "key", "create", "--email", "a@example.com")
    key = said.split()[0]  # only the key goes to standard output
    source = machine.path("sources") / "events.csv"
    source.write_text("day,kind\n2026-01-01,click\n2026-01-01,view\n2026-01-02,click\n")
    base = f"http://{LOOPBACK}:{machine.ports['api']}/api/projects/{project}"
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE) as http:
        table = {"name": "events", "format": "CSVWithNames", "url_pattern": machine.source(source.name)}
        made = await http.post("/warehouse_tables/", json=table)
        assert made.status_code == 201, made.text
        query = {"kind": "HogQLQuery", "query": "SELECT day, count(*) AS n FROM events GROUP BY 1 ORDER BY 1"}
        made = await http.post("/warehouse_saved_queries/", json={"name": "by_day", "query": query})
        assert made.status_code == 201, made.text
        view = f"/warehouse_saved_queries/{made.json()['id']}"
        assert (await http.post(f"{view}/materialize/")).status_code == 200
        run = await _ended(http, view)
        assert run["status"] == "Completed", run
        rows = await http.get(f"{view}/data/", params={"format": "csv"})
        assert rows.text.split() == ["day,n", "2026-01-01,2", "2026-01-02,1"], rows.text
    assert " 0 fail" in await machine.run("worker", "matview", "doctor")


async def _ended(http: httpx.AsyncClient, view: str) -> Json:
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await http.get(f"{view}/run_history/")
            history: list[Json] = answer.json()["run_history"]
            if history and history[0]["status"] != "Running":
                return history[0]
            await asyncio.sleep(0.1)


async def play(machine: Machine) -> None:
    """Do everything in the order of the file. Raises AssertionError or StackError if a step fails."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(machine.end)
        for step in (start_postgres, start_temporal, start_matview, use_it):
            began = time.monotonic()
            await step(machine)
            print(f"{step.__name__}: {time.monotonic() - began:.1f} s")  # noqa: T201 - for people who run this by hand
        for number in range(1, WORKERS + 1):
            assert "queries are kept apart by" in log_of(machine, f"worker{number}")
        for instance in [name for name in machine.running if name.startswith(("worker", "api"))]:
            status = await machine.stop(instance)
            assert status == 0, f"{instance} {describe_exit(status)}: {log_of(machine, instance)}"


async def install(folder: Path) -> Path:
    """The program, as the Dockerfile installs it, but for the release of Python. Returns the folder of its commands."""
    commands = (ROOT / "Dockerfile").read_text().split("FROM ")[1]
    steps = re.findall(r"^RUN (.*)$", re.sub(r"\\\n", " ", commands), flags=re.MULTILINE)
    source = folder / "source"
    shutil.copytree(ROOT / "deploy", source / "deploy")
    for name in ("api", "matview", "orchestrator"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    log = Log(folder / "install.log")
    await run_once("venv", [sys.executable, "-m", "venv", str(folder / "tools")], log, {"PATH": os.defpath})
    env = {**os.environ, "PATH": f"{folder / 'tools/bin'}:{os.defpath}"}
    for step in steps:
        argv = ["sh", "-c", step.replace("/opt/matview", str(folder / "opt"))]
        await run_once("install", argv, log, env, directory=source)
    return folder / "opt/bin"


async def main() -> None:
    """Run by the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", action="store_true", help="install the program as the Dockerfile does")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mv-hand-"))
    folder.chmod(0o755)
    try:
        (folder / "installed").mkdir()
        program = await install(folder / "installed") if asked.wheel else Path(sysconfig.get_path("scripts"))
        (folder / "run").mkdir()
        await play(Machine(folder / "run", program))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
