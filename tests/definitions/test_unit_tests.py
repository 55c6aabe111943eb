"""Unit tests of views: given rows, expected rows, and nothing of the project's own data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.tenants import Json, Tenant

PATH = "/definitions/test/"
DAYS = "SELECT day, count(*) AS orders, sum(amount) AS revenue FROM kept GROUP BY day"
KEPT = "SELECT id, day, amount FROM raw.orders WHERE amount > 0"


@pytest.fixture
async def shop(tenant: Tenant, sources: Path) -> Tenant:
    path = sources / f"orders-{tenant.project_id}.csv"
    path.write_text("id,day,amount\n1,2026-01-01,5.5\n")
    await tenant.add_table("raw.orders", path, "CSVWithNames")
    await tenant.create_view("kept", KEPT)
    await tenant.create_view("by_day", DAYS)
    return tenant


def case(given: Json, expect: Sequence[Any], view: str = "by_day", name: str = "case") -> Json:
    return {"name": name, "view": view, "given": given, "expect": [*expect]}


async def run(tenant: Tenant, *tests: Json, **change: Any) -> list[Json]:
    found: list[Json] = (await tenant.call("POST", PATH, {"tests": list(tests), **change}))["results"]
    return found


ROWS = [
    {"id": 1, "day": "2026-01-01", "amount": 2.5},
    {"id": 2, "day": "2026-01-01", "amount": "1"},
    {"id": 3, "day": "2026-01-02", "amount": -4},
    {"id": 4, "amount": 1},
]


async def test_a_view_is_computed_of_given_rows_down_to_its_tables(shop: Tenant) -> None:
    days = [{"day": None, "orders": 1, "revenue": 1}, {"day": "2026-01-01", "orders": "2", "revenue": 3.5}]
    (passed,) = await run(shop, case({"raw.orders": ROWS}, days))
    assert (passed["status"], passed["columns"], passed["reason"]) == ("passed", ["day", "orders", "revenue"], None)
    # Rows of a view stand for its result, and only the columns that are named are compared.
    kept = [{"day": "2026-01-01", "amount": -1}, {"day": "2026-01-01", "amount": -1}]
    (of_view,) = await run(shop, case({"kept": kept}, [{"Revenue": -2}]))
    assert (of_view["status"], of_view["columns"]) == ("passed", ["revenue"])
    (none,) = await run(shop, case({"raw.orders": []}, []))
    assert none["status"] == "passed"


async def test_the_rows_that_differ_are_shown(shop: Tenant) -> None:
    expect = [{"day": "2026-01-01", "orders": 3}, {"day": None, "orders": 1}, {"day": None, "orders": 1}]
    (failed,) = await run(shop, case({"raw.orders": ROWS}, expect))
    assert failed["status"] == "failed"
    assert (failed["missing_rows"], failed["unexpected_rows"]) == (2, 1)
    assert sorted(failed["missing"], key=str) == [["2026-01-01", 3], [None, 1]]
    assert failed["unexpected"] == [["2026-01-01", 2]]
    many = [{"day": f"2026-02-{day:02}", "orders": 0} for day in range(1, 29)]
    (failed,) = await run(shop, case({"raw.orders": []}, many))
    assert (failed["missing_rows"], len(failed["missing"])) == (28, 20)


async def test_a_change_is_tested_before_it_is_made(shop: Tenant, sources: Path) -> None:
    path = sources / f"more-{shop.project_id}.csv"
    path.write_text("n,amount\n1,2\n")
    views = [
        {"name": "kept", "query": {"query": KEPT.replace("> 0", "> 1")}},
        {"name": "new.view", "query": {"query": "SELECT m.n, k.amount FROM new.table m JOIN kept k ON m.n = k.id"}},
    ]
    tables = [{"name": "new.table", "format": "CSVWithNames", "url_pattern": str(path)}]
    given = {"raw.orders": ROWS, "new.table": [{"n": 1}, {"n": 2}]}
    found = await run(
        shop,
        case({"raw.orders": ROWS}, [{"orders": 1}], name="changed"),
        case(given, [{"n": 1, "amount": 2.5}], view="New.View"),
        views=views,
        tables=tables,
    )
    assert [one["status"] for one in found] == ["passed", "passed"], found
    assert {one["name"] for one in (await shop.call("GET", "/definitions/"))["views"]} == {"kept", "by_day"}
    (as_it_is,) = await run(shop, case({"raw.orders": ROWS}, [{"orders": 1}, {"orders": 2}]))
    assert as_it_is["status"] == "passed"


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        (case({}, [], view="by_dya"), 'There is no view by_dya. Did you mean "by_day"?'),
        (case({}, []), "No rows are given of raw.orders, which it reads. An empty list stands for none."),
        (case({"kept": [], "raw.orders": []}, []), "by_day does not read raw.orders."),
        (case({"kept": [], "by_day": []}, []), "by_day does not read by_day."),
        (case({"kept": [{"dya": 1}]}, []), 'kept has no column dya. Did you mean "day"?'),
        (case({"kept": []}, [{"order": 1}]), 'by_day has no column order. Did you mean "orders"?'),
        (case({"kept": [{"day": "soon"}]}, []), 'Reading "kept": '),
        (case({"kept": []}, [{"orders": "many"}]), "many"),
        (case({"kept": []}, [{"orders": 1.5}]), "1.5 cannot be a value of orders (BIGINT) of the expected rows."),
    ],
)
async def test_a_test_that_cannot_be_run_says_why(shop: Tenant, test: Json, reason: str) -> None:
    (found,) = await run(shop, test)
    assert found["status"] == "error"
    assert reason in found["reason"]


async def test_one_broken_view_breaks_the_tests_that_compute_it_and_no_others(shop: Tenant) -> None:
    broken = [{"name": "kept", "query": {"query": "SELECT nonsense, day, amount FROM raw.orders"}}]
    found = await run(
        shop,
        case({"raw.orders": []}, []),
        case({"raw.orders": []}, [], view="kept"),
        case({"kept": []}, []),
        views=broken,
    )
    assert [one["status"] for one in found] == ["error", "error", "error"]
    assert found[0]["reason"].startswith('In the view "kept": ')
    assert "nonsense" in found[1]["reason"]
    cycle = [{"name": "kept", "query": {"query": "SELECT day, revenue AS amount FROM by_day"}}]
    (found_cycle,) = await run(shop, case({"raw.orders": []}, []), views=cycle)
    assert found_cycle["reason"] == "The views read one another in a cycle."


TYPES = {
    "TIMESTAMP": "2026-01-01 10:00:00",
    "TIMESTAMP WITH TIME ZONE": "2026-01-01 10:00:00+00",
    "DATE": "2026-01-01",
    "DECIMAL(18,3)": 1.5,
    "HUGEINT": "170141183460469231731687303715884105727",
    "DOUBLE": 0.1,
    "FLOAT": 1e30,
    "BOOLEAN": True,
    "UUID": "7b8f3722-e88b-4e4b-9378-dcff5c2b584c",
    "STRUCT(a INTEGER, b STRUCT(c VARCHAR))": {"a": 1, "b": {"c": "x"}},
    "INTEGER[]": [1, 2, None],
    "MAP(VARCHAR, INTEGER)": {"k": 1},
    "JSON": {"a": [1, 2]},
    "INTERVAL": "3 days",
    "TIME": "10:00:00",
    "VARCHAR": 'it\'s "text", \\ 100 %',
}


@pytest.mark.parametrize("kind", TYPES)
async def test_rows_have_the_types_of_their_columns(tenant: Tenant, kind: str) -> None:
    await tenant.create_view("typed", f"SELECT NULL::{kind} AS value, 1 AS n")
    await tenant.create_view("same", "SELECT value, n + 1 AS n FROM typed")
    rows = [{"value": TYPES[kind], "n": 1}, {"value": None, "n": 1}]
    expect = [{"value": None, "n": 2}, {"value": TYPES[kind], "n": 2}]
    (found,) = await run(tenant, case({"typed": rows}, expect, view="same"))
    assert found["status"] == "passed", found
    (other,) = await run(tenant, case({"typed": rows}, expect[:1], view="same"))
    assert (other["status"], other["unexpected_rows"]) == ("failed", 1)


async def test_sums_of_floating_point_numbers_are_compared_as_people_write_them(tenant: Tenant) -> None:
    await tenant.create_view("amounts", "SELECT 0.1::DOUBLE AS amount")
    await tenant.create_view("total", "SELECT sum(amount) AS total FROM amounts")
    given = {"amounts": [{"amount": 0.1}, {"amount": 0.2}]}
    (found,) = await run(tenant, case(given, [{"total": 0.3}], view="total"))
    assert found["status"] == "passed"


async def test_no_data_of_the_project_is_read(shop: Tenant, sources: Path) -> None:
    (sources / f"orders-{shop.project_id}.csv").unlink()
    (found,) = await run(shop, case({"raw.orders": ROWS[:1]}, [{"orders": 1}]))
    assert found["status"] == "passed"
    query = "SELECT * FROM read_csv('/etc/passwd')"
    refused = await run(shop, case({}, [], view="evil"), views=[{"name": "evil", "query": {"query": query}}])
    assert refused[0]["status"] == "error"


async def test_requests_are_bounded(shop: Tenant) -> None:
    too_many = [case({"kept": []}, [])] * 201
    assert (await shop.error("POST", PATH, {"tests": too_many}, status=400))["attr"] == "tests"
    rows = [{"day": None}] * 1001
    await shop.error("POST", PATH, {"tests": [case({"kept": rows}, [])]}, status=400)
