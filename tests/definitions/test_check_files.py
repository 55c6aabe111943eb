"""Checks in the files of a project: how they are written, read back, and what is said of wrong ones."""

from pathlib import Path

import pytest

from orchestrator.cli.output import Failure
from orchestrator.cli.project import files
from orchestrator.cli.project.check_words import words
from orchestrator.devstack.stack import DevStack
from tests.definitions.test_command_line import contents
from tests.support.command_line import Commands, out
from tests.support.tenants import Json, Tenant, a_tenant

HEADER = """\
/*---
description: Orders of each day
checks:
  - not_null: day
  - unique: [day, revenue]
  - not_null: orders
    severity: warn
    where: revenue > 0
  - accepted_values: {column: orders, values: [1, 2, no], severity: warn, enabled: no}
  - row_count: {min: 1, name: some_days}
  - relationships: {column: day, to: days.of.day}
  - custom_sql:
      query: |
        SELECT *
        FROM orders_by_day /* of one */
        WHERE revenue < 0
      name: no_loss
      description: 'A loss: */ is an error'
      tags: [money, daily]
  - custom_sql: SELECT 1 FROM orders_by_day WHERE false
  - row_count_change:
      max_drop_percent: 12.5
  - schema_unchanged
  - schema_unchanged: [added]
---*/
"""
SQL = "SELECT DATE '2026-01-01' AS day, 2 AS orders, 3.5 AS revenue\n"
DAYS = "SELECT DATE '2026-01-01' AS day\n"


def write(folder: Path, header: str = HEADER) -> Path:
    (folder / "views").mkdir(parents=True, exist_ok=True)
    (folder / "views" / "days.of.sql").write_text(DAYS)
    # `*/` would end the comment.
    file = folder / "views" / "orders_by_day.sql"
    file.write_text(header.replace("/* of one */", "").replace("*/ is", "it is") + SQL)
    return file


def read(folder: Path) -> list[Json]:
    found: list[Json] = files.read(folder).views["orders_by_day"].definition["checks"]
    return found


def test_every_way_of_writing_a_check_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    found = read(tmp_path)
    assert found[0] == {"check_type": "not_null", "column_name": "day", "config": {}}
    assert found[1]["config"] == {"columns": ["day", "revenue"]}
    assert found[2] == {
        "check_type": "not_null",
        "column_name": "orders",
        "severity": "warn",
        "config": {"where": "revenue > 0"},
    }
    assert found[3]["config"] == {"values": ["1", "2", "no"]}
    assert found[3]["enabled"] is False
    assert found[4] == {"check_type": "row_count", "column_name": "", "name": "some_days", "config": {"min": "1"}}
    assert found[5]["config"] == {"to": "days.of", "to_column": "day"}
    assert found[6]["tags"] == ["money", "daily"]
    assert found[7]["config"] == {"query": "SELECT 1 FROM orders_by_day WHERE false"}
    assert (found[9]["config"], found[10]["config"]) == ({}, {"allow": ["added"]})


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("- not_nul: day", ":4:5: there is no check 'not_nul'. Did you mean \"not_null\"?"),
        ("- not_null: day\n  - unique: {colum: day}", ":5:5: there is no field of unique 'colum'."),
        ("- not_null: day\n    unique: day", ":4:5: not_null and unique are two checks"),
        ("- unique: {column: day, name: a}\n    name: b", ":4:5: name is there twice"),
        ("- not_null: day\n    severity: fatal", ":4:5: severity is error or warn"),
        ("- not_null: day\n    enabled: perhaps", ":4:5: enabled is true or false"),
        ("- accepted_values: {column: day, values: 1}", ":4:5: values is a list of texts"),
        (
            "- accepted_values: [a, b]",
            ":4:5: accepted_values has fields, as in `accepted_values: {column: …, values: …",
        ),
        ("- row_count: 5", ":4:5: row_count has fields"),
        ("- relationships: {column: day, to: days}", ":4:5: to is a view or table and its column"),
        ("- custom_sql: {query: SELECT 1, where: a}", "there is no field of custom_sql 'where'"),
        ("- name: a", "there is no check ''. There are not_null"),
        ("- [a]", ":4:5: a check has its type and what it is about"),
        ("- unique: {column: [a]}", ":4:5: column is a text"),
        ("not_null: day", ": checks is a list"),
        ("- not_null: &a day", ":4:15: anchors are not used here"),
    ],
)
def test_a_check_that_is_written_wrong_is_said_with_its_place(tmp_path: Path, items: str, said: str) -> None:
    write(tmp_path, f"/*---\nfrequency: 1hour\nchecks:\n  {items}\n---*/\n")
    with pytest.raises(Failure) as failed:
        files.read(tmp_path)
    assert str(failed.value).startswith("views/orders_by_day.sql:")
    assert said in str(failed.value)


def test_a_check_of_defaults_is_written_as_short_as_it_can_be() -> None:
    usual: Json = {"name": None, "description": "", "severity": "error", "enabled": True, "tags": []}

    def written(kind: str, column: str = "", **config: object) -> object:
        return words({**usual, "check_type": kind, "column_name": column, "config": config})

    assert written("not_null", "day") == {"not_null": "day"}
    assert written("unique", columns=["a", "b"]) == {"unique": ["a", "b"]}
    assert written("schema_unchanged", allow=[]) == "schema_unchanged"
    assert written("relationships", "c", to="x.y", to_column="id") == {"relationships": {"column": "c", "to": "x.y.id"}}
    dotted = written("relationships", "c", to="x", to_column="a.b")
    assert dotted == {"relationships": {"column": "c", "to": "x", "to_column": "a.b"}}


async def test_checks_in_files_are_planned_applied_and_exported_as_the_same_bytes(
    stack: DevStack, matview: Commands, folder: Path
) -> None:
    file = write(folder / "shop")
    assert "+ view  orders_by_day  (3 columns)\n      + 11 checks\n" in out(await matview("plan", "shop"))
    await matview("apply", "shop", "--yes", "--no-refresh")
    assert "nothing changes" in out(await matview("plan", "shop", "--exit-code"))
    more = ("check", "add", "orders_by_day", "custom_sql", "--name", "odd", "--description", 'a\n*/ b: "c" # d')
    await matview(*more, "--set", "query=SELECT '/* no */' AS a\nFROM orders_by_day -- */\nWHERE false")
    await matview("check", "add", "orders_by_day", "accepted_values", "-c", "orders", "--set", "values=[1, 2.5, true]")
    await matview("export", "one")
    async with a_tenant(stack) as other:
        there = Commands(stack, other, folder)
        await there("apply", "one", "--yes", "--no-refresh")
        await there("export", "two")
        assert "nothing changes" in out(await there("plan", "one", "--exit-code"))
    assert contents(folder / "one") == contents(folder / "two")
    assert "nothing changes" in out(await matview("plan", "one", "--exit-code"))
    text = (folder / "one" / "views" / "orders_by_day.sql").read_text()
    assert "\nchecks:\n  - not_null: day\n  - unique:\n" in text
    assert "\n  - schema_unchanged\n" in text

    file.write_text(file.read_text().replace("  - not_null: day\n", "  - unique: day\n").replace("min: 1", "min: 0"))
    shown = out(await matview("apply", "shop", "--yes"))
    assert (
        '~ view  orders_by_day  checks\n      + check  unique of "day"\n      ~ check  some_days  assertion\n' in shown
    )
    assert '      - check  not_null of "day"\n      - check  odd\n' in shown
    assert "to refresh" not in shown


async def test_names_of_checks_are_compared_with_those_of_source_tables_too(
    tenant: Tenant, matview: Commands, folder: Path, sources: Path
) -> None:
    path = sources / f"days-{tenant.project_id}.csv"
    path.write_text("day\n2026-01-01\n")
    await tenant.add_table("days", path, "CSVWithNames")
    await matview("check", "add", "days", "not_null", "--column", "day", "--name", "Some_Days")
    write(folder / "shop")
    failed = await matview("apply", "shop", "--yes", status=1)
    assert "Another check of this project has the name some_days: one of days." in out(failed)


async def test_checks_with_an_empty_name_have_none(tenant: Tenant) -> None:
    checks = [{"check_type": "not_null", "column_name": column, "name": ""} for column in ("a", "b")]
    view = {"name": "v", "query": {"query": "SELECT 1 AS a, 2 AS b"}, "checks": checks}
    made = await tenant.call("POST", "/definitions/apply/", {"views": [view], "tables": []})
    assert made["plan"]["problems"] == []
    (made,) = (await tenant.call("GET", "/definitions/"))["views"]
    assert [one["name"] for one in made["checks"]] == [None, None]


async def test_a_check_of_what_was_deleted_and_one_of_what_has_its_name_now_are_exported_as_one(
    tenant: Tenant, matview: Commands, folder: Path
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS id")
    for is_first in (True, False):
        other = await tenant.create_view("other", "SELECT 1 AS id")
        into = ("--set", "to_subject_type=view", "--set", f"to_subject_uuid={other['id']}", "--set", "to_column=id")
        await matview("check", "add", "v", "relationships", "--column", "id", *into)
        if is_first:
            await tenant.call("DELETE", f"/warehouse_saved_queries/{other['id']}/", expect=204)
    await matview("export", "one")
    assert (folder / "one" / "views" / "v.sql").read_text().count("relationships") == 1
    shown = out(await matview("apply", "one", "--yes", "--no-refresh"))
    assert shown.count('- check  relationships of "id"') == 1
    (left,) = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/checks/"))["results"]
    assert left["config"]["to_subject_uuid"] == other["id"]


async def test_a_check_that_cannot_be_is_said_with_file_line_and_column(
    matview: Commands, folder: Path, tenant: Tenant
) -> None:
    file = write(folder)
    text = file.read_text().replace("not_null: day", "not_null: dya").replace("FROM orders_by_day", "FROM order_by_day")
    file.write_text(text.replace("days.of.day", "days_of.day"))
    failed = await matview("apply", "--yes", status=1)
    shown = out(failed)
    assert (
        'view orders_by_day: The check cannot be run: Invalid query: Binder Error: Table "orders_by_day" does not have '
        'a column named "dya". Did you mean "day"?'
    ) in shown
    assert "views/orders_by_day.sql:4:5\n" in shown
    assert "- not_null: dya\n" in shown
    assert "Table with name days_of does not exist!" in shown
    assert "views/orders_by_day.sql:11:5\n" in shown
    assert 'Did you mean "orders_by_day"? (line 2, column 6 of its query)' in shown
    assert "nothing can be applied: 4 problems" in failed.stderr.decode()
    assert (await tenant.call("GET", "/definitions/"))["views"] == []


SOURCES = """\
tables:
  raw_orders:
    format: CSVWithNames
    path: data/orders.csv
    checks:
      - not_null: [id, day]
      - unique: {column: id, name: order_ids, severity: warn}
      - row_count: {min: 1}
      - relationships: {column: day, to: days.of.day}
"""


async def test_checks_of_source_tables_stand_in_their_file(stack: DevStack, matview: Commands, folder: Path) -> None:
    file = write(folder / "shop").parent.parent / "sources.yml"
    (folder / "shop" / "data").mkdir()
    (folder / "shop" / "data" / "orders.csv").write_text("id,day\n1,2026-01-01\n")
    file.write_text(SOURCES)
    assert "+ table raw_orders  (2 columns)\n      + 4 checks\n" in out(await matview("plan", "shop"))
    await matview("apply", "shop", "--yes", "--no-refresh")
    assert "nothing changes" in out(await matview("plan", "shop", "--exit-code"))
    assert "4 passed" in out(await matview("test", "raw_orders"))
    await matview("export", "one")
    assert "nothing changes" in out(await matview("plan", "one", "--exit-code"))
    text = (folder / "one" / "sources.yml").read_text()
    assert "- relationships:\n          column: day\n          to: days.of.day\n" in text
    async with a_tenant(stack) as other:
        there = Commands(stack, other, folder)
        await there("apply", "one", "--yes", "--no-refresh")
        await there("export", "two")
    assert contents(folder / "one") == contents(folder / "two")

    file.write_text(SOURCES.replace("severity: warn", "severity: error").replace("min: 1", "min: 2"))
    shown = out(await matview("apply", "shop", "--yes"))
    assert "~ table raw_orders  checks\n      + check  row_count\n" in shown
    assert "      ~ check  order_ids  severity\n      - check  row_count\n" in shown
    assert "to refresh" not in shown
    file.write_text(SOURCES.partition("    checks:")[0])
    assert out(await matview("apply", "shop", "--yes")).count("- check  ") == 4
    assert "there are no checks" in out(await matview("test", "raw_orders"))


async def test_a_check_of_a_source_table_that_cannot_be_is_said_with_its_line(
    matview: Commands, folder: Path, tenant: Tenant
) -> None:
    write(folder)
    (folder / "data").mkdir()
    (folder / "data" / "orders.csv").write_text("id,day\n1,2026-01-01\n")
    wrong = SOURCES.replace("[id, day]", "[id, dya]").replace("row_count: {min: 1}", "schema_unchanged")
    (folder / "sources.yml").write_text(wrong.replace("name: order_ids", "name: some_days"))
    shown = out(await matview("apply", "--yes", status=1))
    assert (
        'table raw_orders: The check cannot be run: Invalid query: Binder Error: Table "raw_orders" does not have'
        in shown
    )
    assert "sources.yml:6:9\n" in shown
    assert "table raw_orders: A source table has no version before, with which it could be compared." in shown
    assert "sources.yml:8:9\n" in shown
    assert "Another check of this project has the name some_days: one of raw_orders." in shown
    assert (await tenant.call("GET", "/definitions/"))["tables"] == []
