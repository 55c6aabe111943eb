"""Which databases are read, with which credential, and where the password is."""

import asyncio
import base64
import json
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from orchestrator.catalog import tables
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.errors import InvalidSource
from orchestrator.model.source_table import Credential
from orchestrator.services.encryption import Encryptor
from orchestrator.services.table_credentials import TableCredentials
from tests.database_sources.conftest import CREDENTIAL, Schema, add, rows_of
from tests.database_sources.test_copies import slow_view
from tests.support.command_line import Commands
from tests.support.postgres_server import PASSWORD, USER, PostgresServer
from tests.support.secret_search import assert_not_in_files, assert_not_in_queries, has_in_memory
from tests.support.tenants import ENDLESS, Tenant

NOT_ALLOWED = "does not allow source tables to read the database"
REFUSED = [
    ("postgresql://127.0.0.1:{other}/postgres/s.t", NOT_ALLOWED),
    ("postgresql://localhost:{port}/postgres/s.t", NOT_ALLOWED),
    ("postgresql://169.254.169.254:80/postgres/s.t", NOT_ALLOWED),
    ("postgresql://[::1]:{port}/postgres/s.t", NOT_ALLOWED),
    ("postgresql://[::ffff:127.0.0.1]:{port}/postgres/s.t", NOT_ALLOWED),
    ("postgresql://2130706433:{port}/postgres/s.t", NOT_ALLOWED),
    ("postgresql://db.example.org/postgres/s.t", NOT_ALLOWED),
    ("postgresql://reader:secret@127.0.0.1:{port}/postgres/s.t", "Give user and password as the credential"),
    ("postgresql://127.0.0.1:{port},10.0.0.1:5432/postgres/s.t", "not valid"),
    ("postgresql://127.0.0.1:{port}/postgres/s.t?host=/run/postgresql", "characters that it may not have"),
    ("postgresql://127.0.0.1:{port}/postgres/s.t#x", "characters that it may not have"),
    ("postgresql://127.0.0.1:{port}/postgres/s.*", "characters that it may not have"),
    ("postgresql:///postgres/s.t", "names no server"),
    ("postgresql://127.0.0.1:{port}/postgres/t", "names no table"),
    ("postgresql://127.0.0.1:{port}/postgres/a.b.c", "names no table"),
    ("postgresql://127.0.0.1:{port}/postgres", "names no table"),
    ("postgresql://127.0.0.1:{port}/postgres/x/s.t", "names no table"),
    ("postgresql://127.0.0.1:{port}/postgres/s.t%00", "characters that no name has"),
    ("postgresql://127.0.0.1:99999/postgres/s.t", "not valid"),
    ("mysql://127.0.0.1:{port}/postgres.t", "The format of a table at this URL is MySQL"),
    ("/data/a.parquet", "PostgreSQL tables begin with postgresql://"),
    ("postgresql://127.0.0.1:{port}/postgres' host='10.0.0.1/s.t", "characters that it may not have"),
    ("postgresql://127.0.0.1:{port}/postgres'host='10.0.0.1/s.t", "does not exist"),
    ("postgresql://127.0.0.1:{port}/nowhere/s.t", '"nowhere" does not exist'),
    ("postgresql://127.0.0.1:{port}/postgres/s.t';%20DROP%20TABLE%20x;--", "There is no table"),
    (f"postgresql://127.0.0.1:{{port}}/postgres/s.{'t' * 600}", "no more than 500 characters"),
]


@pytest.mark.parametrize(("url", "said"), REFUSED)
async def test_a_url_that_is_not_that_of_an_allowed_server_and_a_table_is_refused(
    tenant: Tenant, postgres: PostgresServer, url: str, said: str
) -> None:
    shown = url.format(port=postgres.port, other=postgres.port + 1)
    body = {"name": "t", "format": "PostgreSQL", "url_pattern": shown, "credential": CREDENTIAL}
    refused = await tenant.error("POST", "/warehouse_tables/", body, status=400)
    assert refused["attr"] == "url_pattern"
    assert said in refused["detail"]
    assert PASSWORD not in json.dumps(refused)


async def test_a_table_needs_a_credential_that_the_server_accepts(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int")
    body = {"name": "t", "format": "PostgreSQL", "url_pattern": schema.url("t")}
    refused = await tenant.error("POST", "/warehouse_tables/", body, status=400)
    assert "needs a credential" in refused["detail"]
    wrong = body | {"credential": {"access_key": USER, "access_secret": "wrong' host='10.0.0.1"}}
    refused = await tenant.error("POST", "/warehouse_tables/", wrong, status=400)
    assert "password authentication failed" in refused["detail"]
    assert "wrong'" not in refused["detail"]


async def test_a_format_that_is_not_of_its_url_and_options_of_files_are_refused(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int")
    body = {"name": "t", "url_pattern": schema.url("t"), "credential": CREDENTIAL}
    refused = await tenant.error("POST", "/warehouse_tables/", body | {"format": "Parquet"}, status=400)
    assert "The format of a table at this URL is PostgreSQL, and not Parquet" in refused["detail"]
    for option in ({"hive_partitioning": True}, {"on_bad_row": "skip"}, {"delimiter": ";"}, {"union_by_name": True}):
        refused = await tenant.error("POST", "/warehouse_tables/", body | {"format": "PostgreSQL"} | option, status=400)
        assert "means nothing for PostgreSQL" in refused["detail"]


async def test_a_credential_is_for_its_database_and_forgotten_with_another_one(
    tenant: Tenant, schema: Schema, postgres: PostgresServer
) -> None:
    await schema.create("t", "n int")
    await schema.create("u", "m int")
    table = await add(tenant, schema, "t")
    path = f"/warehouse_tables/{table['id']}/"
    same = await tenant.call("PATCH", path, {"url_pattern": schema.url("u")})
    assert [column["name"] for column in same["columns"]] == ["m"]
    elsewhere = postgres.url(f"{schema.name}.t", database="template1")
    refused = await tenant.error("PATCH", path, {"url_pattern": elsewhere}, status=400)
    assert "needs a credential" in refused["detail"]


async def test_a_new_password_is_never_sent_to_the_server_of_before(
    tenant: Tenant, schema: Schema, postgres: PostgresServer, stack: DevStack, shared_catalog: Database
) -> None:
    """A run that was planned before the URL was changed still has the old one."""
    await schema.create("t", "n int")
    table = await add(tenant, schema, "t")
    key = base64.urlsafe_b64encode(stack.servers.home.secret("credentials").encode()).decode()
    credentials = TableCredentials(shared_catalog, Encryptor(key))
    before = await credentials.of_table(UUID(table["id"]), schema.url("t"))
    assert before == Credential(**CREDENTIAL)
    elsewhere = postgres.url("public.t", database="elsewhere")
    async with shared_catalog.begin() as tx:
        is_it = tables.source_tables.c.id == UUID(table["id"])
        await tx.execute(update(tables.source_tables).where(is_it).values(url_pattern=elsewhere))
    with pytest.raises(InvalidSource, match="URL was changed"):
        await credentials.of_table(UUID(table["id"]), schema.url("t"))
    assert await credentials.of_table(UUID(table["id"]), elsewhere) == before


async def test_a_user_who_may_read_some_columns_reads_these_and_can_write_nothing(
    tenant: Tenant, schema: Schema
) -> None:
    await schema.run("CREATE TABLE t (n int, secret text)", "INSERT INTO t VALUES (1, 'x')")
    await schema.run("GRANT SELECT (n) ON t TO reader")
    table = await add(tenant, schema, "t")
    assert [column["name"] for column in table["columns"]] == ["n"]
    await tenant.materialized("v", "SELECT * FROM t")
    assert await rows_of(tenant, "SELECT * FROM v") == [[1]]
    await schema.run(
        "CREATE FUNCTION spoil() RETURNS int LANGUAGE sql SECURITY DEFINER "
        f"AS 'DELETE FROM {schema.name}.t RETURNING 1'",
        "CREATE VIEW trap AS SELECT spoil() AS n",
        "GRANT SELECT ON trap TO reader",
    )
    await add(tenant, schema, "trap")
    view = await tenant.materialized("w", "SELECT * FROM trap")
    (run,) = await tenant.history(view["id"])
    assert "cannot execute DELETE in a read-only transaction" in run["error"]
    assert await schema.run("SELECT count(*) FROM t") == [(1,)]


async def test_a_server_that_is_allowed_no_more_is_not_read_by_a_run(
    tenant: Tenant, schema: Schema, shared_catalog: Database
) -> None:
    await schema.create("t", "n int", "(1)")
    table = await add(tenant, schema, "t")
    view = await tenant.create_view("v", "SELECT n FROM t")
    async with shared_catalog.begin() as tx:
        moved = update(tables.source_tables).where(tables.source_tables.c.id == UUID(table["id"]))
        await tx.execute(moved.values(url_pattern="postgresql://127.0.0.1:1/postgres/s.t"))
    await tenant.act(view["id"], "materialize")
    ended = await tenant.ended(view["id"])
    assert ended["status"] == "Failed"
    assert NOT_ALLOWED in ended["error"]


async def test_the_password_is_nowhere_but_in_the_processes_that_read_the_database(
    stack: DevStack, tenant: Tenant, schema: Schema
) -> None:
    await schema.create("t", "n int", "(1)")
    await add(tenant, schema, "t")
    _, view = await slow_view(tenant, schema)
    worker = stack.info["pids"]["worker"]
    assert has_in_memory(worker, PASSWORD.encode())
    await tenant.act(view["id"], "cancel")
    endless = await tenant.create_view("endless", f"SELECT t.n FROM t, ({ENDLESS}) x")
    await tenant.act(endless["id"], "materialize")
    await tenant.running(endless["id"])
    assert_not_in_queries(worker, PASSWORD.encode())
    await tenant.act(endless["id"], "cancel")
    listed = json.dumps(await tenant.call("GET", "/warehouse_tables/"))
    assert PASSWORD not in listed
    await schema.run("DROP TABLE t")
    await tenant.act(endless["id"], "run")
    assert PASSWORD not in json.dumps(await tenant.ended(endless["id"], 2))
    assert_not_in_files(Path(stack.info["data_dir"]).parent, PASSWORD.encode())


async def test_the_command_line_adds_a_table_of_a_database(matview: Commands, schema: Schema) -> None:
    await schema.create("t", "n int", "(1)")
    matview.env["MATVIEW_ACCESS_SECRET"] = PASSWORD
    added = await matview("table", "add", "t", schema.url("t"), "--access-key", USER)
    assert added.stdout.startswith(b"t: PostgreSQL table, 1 column")
    assert PASSWORD.encode() not in added.stdout + added.stderr
    shown = await matview("table", "show", "t")
    assert schema.url("t").encode() in shown.stdout
    await asyncio.to_thread(lambda: None)
