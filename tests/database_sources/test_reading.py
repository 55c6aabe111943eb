"""Tables of databases outside a refresh: ad hoc, in tries, in plans of definitions, on a cluster."""

from uuid import uuid4

import pytest

from orchestrator.model.errors import InvalidQuery
from orchestrator.model.run import SourceRelation
from orchestrator.model.source_table import SourceFormat
from orchestrator.services.cluster_statements import refuse_unreadable
from tests.acceptance.test_tries import tried
from tests.checks.test_gate import add as add_check
from tests.database_sources.conftest import Schema, add, rows_of
from tests.generations.test_refreshing import refreshed, statuses
from tests.support.tenants import Tenant


async def test_a_table_is_read_ad_hoc_as_it_was_copied_last(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int", "(1)")
    await add(tenant, schema, "t")
    body = {"query": {"query": "SELECT * FROM t"}}
    refused = await tenant.error("POST", "/query/", body, status=400)
    assert "it has not been copied yet" in refused["detail"]
    await tenant.materialized("v", "SELECT n FROM t")
    assert await rows_of(tenant, "SELECT * FROM t") == [[1]]
    await schema.run("INSERT INTO t VALUES (2)")
    assert await rows_of(tenant, "SELECT * FROM t") == [[1]]
    assert statuses(await refreshed(tenant, "v")) == {"v": "Completed"}
    assert await rows_of(tenant, "SELECT * FROM t ORDER BY n") == [[1], [2]]


async def test_a_try_reads_the_newest_copy(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int", "(1)")
    await add(tenant, schema, "t")
    view = await tenant.materialized("v", "SELECT n FROM t")
    await schema.run("INSERT INTO t VALUES (2)")
    found = await tried(tenant, view, "SELECT n + 10 AS n FROM t")
    assert (found["status"], found["rows"]) == ("Ready", [[11]])


async def test_a_view_over_a_view_without_a_result_reads_the_table_too(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int", "(1)", "(2)")
    await add(tenant, schema, "t")
    await tenant.create_view("inner_view", "SELECT n * 2 AS n FROM t")
    await tenant.materialized("outer_view", "SELECT sum(n)::BIGINT AS s FROM inner_view")
    assert await rows_of(tenant, "SELECT s FROM outer_view") == [[6]]


async def test_a_table_that_checks_read_is_copied_for_them(tenant: Tenant, schema: Schema) -> None:
    await schema.create("parents", "id int", "(1)")
    await schema.create("children", "parent int", "(1)")
    parents = await add(tenant, schema, "parents")
    await add(tenant, schema, "children")
    view = await tenant.create_view("v", "SELECT parent FROM children")
    config = {"to_subject_type": "table", "to_subject_uuid": parents["id"], "to_column": "id"}
    await add_check(tenant, view, "relationships", column_name="parent", config=config)
    await tenant.act(view["id"], "materialize")
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    await schema.run("INSERT INTO children VALUES (7)")
    assert statuses(await refreshed(tenant, "v")) == {"v": "Failed"}
    await schema.run("INSERT INTO parents VALUES (7)")
    assert statuses(await refreshed(tenant, "v")) == {"v": "Completed"}


async def test_definitions_keep_a_table_and_plan_a_change_by_its_columns(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int, m int", "(1, 2)")
    await add(tenant, schema, "t")
    await tenant.materialized("v", "SELECT m FROM t")
    definition = {"name": "t", "format": "PostgreSQL", "url_pattern": schema.url("t")}
    view = {"name": "v", "query": {"kind": "HogQLQuery", "query": "SELECT n + m AS s FROM t"}}
    plan = await tenant.call("POST", "/definitions/plan/", {"tables": [definition], "saved_queries": [view]})
    assert not plan["problems"]


def test_a_view_on_a_cluster_does_not_read_it() -> None:
    table = SourceRelation(
        name="t", id=uuid4(), format=SourceFormat.POSTGRESQL, url_pattern="postgresql://host/database/s.t", columns=()
    )
    with pytest.raises(InvalidQuery, match="the source table t is text, in a bucket or in a database"):
        refuse_unreadable([table])
