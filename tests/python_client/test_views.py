"""Views through the Python client: finding them, their fields and their rows."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import matview
from orchestrator.devstack.stack import DevStack
from tests.python_client.support import a_relay, aside, connected, no_read_is_left
from tests.reading.support import reads_of
from tests.support.tenants import Tenant, a_tenant

NUMBERS = 'SELECT i AS id, \'row \' || i AS "a, ""b""" FROM range(2500) t(i) ORDER BY i'
ODD = 'a, "b"'
WIDE = "SELECT i, repeat('x', 1000) AS text FROM range(200000) t(i)"


async def test_a_view_is_found_by_its_name_among_others_that_hold_it(tenant: Tenant, mv: matview.Connection) -> None:
    made = {name: await tenant.create_view(name, "SELECT 1 AS n") for name in ("ns.orders", "orders", "my_orders")}
    for name, found in made.items():
        view = await aside(mv.view, name)
        assert (view.name, view.id) == (name, UUID(found["id"]))
    assert (await aside(mv.view, "NS.Orders")).name == "ns.orders"
    for name in ("order", "ns_orders", "", "x" * 200, "%"):
        with pytest.raises(matview.NotFound, match="no view"):
            await aside(mv.view, name)


async def test_views_are_listed_over_all_pages(tenant: Tenant, mv: matview.Connection) -> None:
    assert await aside(mv.views) == []
    for number in range(103):
        await tenant.create_view(f"v{number}", "SELECT 1 AS n")
    views = await aside(mv.views)
    assert [view.name for view in views] == [f"v{number}" for number in reversed(range(103))]
    assert {view.name for view in await aside(mv.views, search="V10")} == {"v10", "v100", "v101", "v102"}
    assert (await aside(mv.view, "v0")).name == "v0"


async def test_a_view_shows_its_columns_its_rows_and_their_time(tenant: Tenant, mv: matview.Connection) -> None:
    before = datetime.now(UTC)
    await tenant.materialized("numbers", NUMBERS)
    for view in [await aside(mv.view, "numbers"), *await aside(mv.views)]:
        assert view.status == "Completed"
        assert view.columns == (matview.Column("id", "BIGINT"), matview.Column(ODD, "VARCHAR"))
        assert await aside(lambda view=view: view.row_count) == 2500  # type: ignore[misc]
        as_of = await aside(lambda view=view: view.data_as_of)  # type: ignore[misc]
        assert as_of is not None
        assert before < as_of < datetime.now(UTC)
        assert repr(view) == "<matview.View numbers: Completed>"


async def test_the_rows_of_a_view_come_as_arrow_pandas_and_polars(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.materialized("ns.numbers", NUMBERS)
    view = await aside(mv.view, "ns.numbers")
    wanted = {"id": list(range(2500)), ODD: [f"row {i}" for i in range(2500)]}
    table = await aside(view.to_arrow)
    assert isinstance(table, pa.Table)
    assert table.to_pydict() == wanted
    assert pa.Table.from_batches(await aside(list, view.batches())).to_pydict() == wanted
    frame = await aside(view.to_pandas, columns=[ODD, "ID"], limit=2)
    assert isinstance(frame, pd.DataFrame)
    assert frame.to_dict("list") == {ODD: ["row 0", "row 1"], "id": [0, 1]}
    polars = await aside(view.to_polars, columns=["id"], limit=3)
    assert isinstance(polars, pl.DataFrame)
    assert polars.to_dict(as_series=False) == {"id": [0, 1, 2]}
    (batch,) = await aside(list, view.batches(columns="id", limit=1))
    assert batch.to_pydict() == {"id": [0]}
    assert await reads_of(tenant) == 0


async def test_no_rows_are_a_table_with_columns(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.materialized("empty", "SELECT 1 AS a, 'x' AS b WHERE false")
    view = await aside(mv.view, "empty")
    assert (await aside(view.to_arrow)).to_pydict() == {"a": [], "b": []}
    assert (await aside(view.to_arrow, limit=0)).column_names == ["a", "b"]
    assert list((await aside(view.to_pandas)).columns) == ["a", "b"]
    assert (await aside(view.to_polars)).columns == ["a", "b"]
    assert sum(batch.num_rows for batch in await aside(list, view.batches())) == 0
    assert await aside(lambda: view.row_count) == 0


async def test_a_view_without_a_version_says_why_it_has_no_rows(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.create_view("plain", "SELECT 1 AS one")
    await tenant.materialized("failed", "SELECT error('no') AS one")
    for name, words in [("plain", "is not materialized"), ("failed", "has no rows yet")]:
        view = await aside(mv.view, name)
        with pytest.raises(matview.NotFound, match=words):
            await aside(view.to_arrow)
        with pytest.raises(matview.NotFound, match=words):
            await aside(next, view.batches())
        assert await aside(lambda view=view: (view.row_count, view.data_as_of)) == (None, None)  # type: ignore[misc]


async def test_an_older_version_is_read_by_its_id(tenant: Tenant, mv: matview.Connection, sources: Path) -> None:
    file = sources / "python" / f"{uuid4()}.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("n\n1\n")
    await tenant.add_table("t", file, "CSVWithNames")
    await tenant.materialized("v", "SELECT n FROM t")
    view = await aside(mv.view, "v")
    (first,) = await aside(view.runs)
    file.write_text("n\n2\n")
    second = await aside(view.refresh)
    assert (await aside(view.to_arrow)).to_pydict() == {"n": [2]}
    for snapshot_id in (first.snapshot_id, str(first.snapshot_id)):
        assert (await aside(view.to_arrow, snapshot_id=snapshot_id)).to_pydict() == {"n": [1]}
    assert first.snapshot_id != second.snapshot_id
    with pytest.raises(matview.NotFound, match="no longer kept"):
        await aside(view.to_arrow, snapshot_id=uuid4())


async def test_a_bad_request_for_rows_is_an_error_with_its_reason(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.materialized("numbers", NUMBERS)
    view = await aside(mv.view, "numbers")
    with pytest.raises(matview.QueryError) as refused:
        await aside(view.to_arrow, columns=["nope"])
    assert (refused.value.detail, refused.value.attr) == ('The view has no column "nope".', "columns")
    assert (refused.value.code, refused.value.status) == ("invalid", 400)
    with pytest.raises(matview.QueryError):
        await aside(view.to_arrow, limit=-1)
    with pytest.raises(ValueError, match="at least one column"):
        await aside(view.to_arrow, columns=[])


async def test_a_deleted_view_is_not_found(tenant: Tenant, mv: matview.Connection) -> None:
    made = await tenant.create_view("v", "SELECT 1 AS n")
    view = await aside(mv.view, "v")
    await tenant.call("DELETE", f"/warehouse_saved_queries/{made['id']}/", expect=204)
    for call in (view.reload, view.to_arrow, view.runs, view.refresh):
        with pytest.raises(matview.NotFound):
            await aside(call)
    with pytest.raises(matview.NotFound):
        await aside(mv.view, "v")


async def test_batches_that_are_closed_early_leave_no_read(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.materialized("wide", WIDE)
    view = await aside(mv.view, "wide")
    batches = view.batches()
    assert (await aside(next, batches)).num_rows > 0
    assert await reads_of(tenant) == 1  # its rows fit into no buffer between the two
    await aside(batches.close)
    await no_read_is_left(tenant)
    assert (await aside(view.to_arrow, limit=1)).num_rows == 1


async def test_a_loop_that_is_left_ends_the_read(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.materialized("wide", WIDE)
    view = await aside(mv.view, "wide")

    def leave() -> None:
        for batch in view.batches():
            raise LookupError(batch.num_rows)

    with pytest.raises(LookupError):
        await aside(leave)
    await no_read_is_left(tenant)


async def test_lz4_is_asked_for_only_of_another_machine(stack: DevStack, tenant: Tenant) -> None:
    await tenant.materialized("numbers", NUMBERS)
    tables, asked = [], []
    for listens, host in [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("0.0.0.0", "0.0.0.0")]:  # noqa: S104 - an address that is not called loopback
        async with a_relay(stack, listens) as relay:
            with connected(stack, tenant, f"http://{host}:{relay.port}") as mv:
                view = await aside(mv.view, "numbers")
                tables.append(await aside(view.to_arrow))
                asked.append("compression=lz4" in relay.requests[-1])
    assert asked == [False, False, True]
    assert tables[0].num_rows == 2500
    assert tables[0].equals(tables[2])


async def test_a_key_of_another_project_gets_nothing(stack: DevStack, tenant: Tenant) -> None:
    await tenant.materialized("numbers", NUMBERS)
    async with a_tenant(stack) as other:
        with matview.connect(stack.info["api_url"], other.token, project=tenant.project_id) as mv:
            with pytest.raises(matview.Unauthorized) as refused:
                await aside(mv.view, "numbers")
            assert (refused.value.status, refused.value.code) == (403, "permission_denied")
