"""The contract of a source table: the API stores, shows and enforces what a client states."""

import asyncio
from pathlib import Path

import pytest

from tests.support.tenants import Json, Tenant, as_listed, write_parquet

TABLES = "/warehouse_tables/"
USUAL: Json = {"on_bad_row": "fail", "union_by_name": False, "hive_partitioning": False}
CSV: Json = {"delimiter": ",", "quote": '"', "null_text": "", "decimal_separator": ".", "encoding": "utf-8"}
NOT_CSV: Json = {**dict.fromkeys(CSV), "header": None, "date_format": None}


def csv_file(sources: Path, tenant: Tenant, text: str = "zip,n\n02134,1\n") -> Path:
    folder = sources / "contracts" / str(tenant.project_id)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "a.csv"
    path.write_text(text)
    return path


async def added(tenant: Tenant, path: Path, **more: object) -> Json:
    body = {"name": "t", "format": "CSVWithNames", "url_pattern": str(path), **more}
    return await tenant.call("POST", TABLES, body, expect=201)


async def changed(tenant: Tenant, table: Json, **fields: object) -> Json:
    return await tenant.call("PATCH", f"{TABLES}{table['id']}/", fields)


def options(table: Json) -> Json:
    return {name: table[name] for name in (*USUAL, *NOT_CSV)}


async def test_every_option_of_a_table_is_shown_and_is_as_usual_unless_stated(tenant: Tenant, sources: Path) -> None:
    table = await added(tenant, csv_file(sources, tenant))
    assert options(table) == {**USUAL, **CSV, "header": True, "date_format": None}
    assert [column["stated"] for column in table["columns"]] == [False, False]
    assert (await tenant.call("GET", TABLES))["results"] == [as_listed(table)]
    assert await tenant.call("GET", f"{TABLES}{table['id']}/") == table


async def test_what_means_nothing_for_a_format_is_null(tenant: Tenant, sources: Path) -> None:
    table = await tenant.add_table("p", write_parquet(sources / "contracts" / "p.parquet", a=[1]))
    assert options(table) == {**USUAL, **NOT_CSV}
    lines = sources / "contracts" / "lines.json"
    lines.write_text('{"a": 1}\n')
    table = await tenant.add_table("j", lines, "JSONEachRow")
    assert options(table) == {**USUAL, **NOT_CSV}


async def test_options_are_kept_as_stated_and_an_edit_changes_only_what_it_names(tenant: Tenant, sources: Path) -> None:
    stated: Json = {"on_bad_row": "quarantine", "null_text": "NA", "date_format": "%d/%m/%Y", "union_by_name": True}
    table = await added(tenant, csv_file(sources, tenant), **stated)
    assert options(table) == {**USUAL, **CSV, "header": True, **stated}
    table = await changed(tenant, table, on_bad_row="skip", union_by_name=None, date_format=None)
    assert options(table) == {
        **USUAL,
        **CSV,
        "header": True,
        "date_format": None,
        "on_bad_row": "skip",
        "null_text": "NA",
    }


async def test_the_header_decides_which_format_of_csv_it_is(tenant: Tenant, sources: Path) -> None:
    table = await added(tenant, csv_file(sources, tenant), header=False)
    assert (table["format"], table["header"]) == ("CSV", False)
    table = await changed(tenant, table, header=True)
    assert (table["format"], table["header"]) == ("CSVWithNames", True)
    table = await changed(tenant, table, format="CSV")
    assert (table["format"], table["header"]) == ("CSV", False)
    refused = await tenant.error("PATCH", f"{TABLES}{table['id']}/", {"format": "Parquet", "header": True}, status=400)
    assert refused["attr"] == "header"


@pytest.mark.parametrize(
    ("sent", "attr"),
    [
        ({"on_bad_row": "ignore"}, "on_bad_row"),
        ({"union_by_name": "maybe"}, "union_by_name"),
        ({"hive_partitioning": 7}, "hive_partitioning"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": ["x"]}, "delimiter"),
        ({"quote": ","}, "quote"),
        ({"header": "perhaps"}, "header"),
        ({"null_text": "x" * 10_000}, "null_text"),
        ({"date_format": "%d/%Q"}, "date_format"),
        ({"decimal_separator": "'"}, "decimal_separator"),
        ({"decimal_separator": ","}, "decimal_separator"),
        ({"encoding": "klingon"}, "encoding"),
        ({"columns": "zip"}, "columns"),
        ({"columns": [{"name": "zip"}]}, "columns.0.type"),
        ({"columns": [{"type": "VARCHAR"}]}, "columns.0.name"),
        ({"columns": [{"name": "", "type": "VARCHAR"}]}, "columns.0.name"),
        ({"columns": [{"name": "x" * 1_001, "type": "VARCHAR"}]}, "columns.0.name"),
        ({"columns": [{"name": "zip", "type": "x" * 10_001}]}, "columns.0.type"),
        ({"columns": [{"name": "zip", "type": "VARCHAR"}, {"name": "ZIP", "type": "VARCHAR"}]}, "columns"),
        ({"columns": [{"name": f"c{n}", "type": "VARCHAR"} for n in range(10_001)]}, "columns"),
        ({"columns": [{"name": "z\x00p", "type": "VARCHAR"}]}, None),
    ],
)
async def test_a_contract_that_makes_no_sense_is_refused_and_changes_nothing(
    tenant: Tenant, sources: Path, sent: Json, attr: str | None
) -> None:
    path = csv_file(sources, tenant)
    table = await added(tenant, path)
    body = {"name": "u", "format": "CSVWithNames", "url_pattern": str(path), **sent}
    for method, where in (("POST", TABLES), ("PATCH", f"{TABLES}{table['id']}/"), ("PUT", f"{TABLES}{table['id']}/")):
        refused = await tenant.error(method, where, body, status=400)
        # The API refuses a NUL before it validates any field.
        assert (refused["type"], refused["attr"]) == ("validation_error" if attr else "invalid_request", attr)
        assert len(refused["detail"]) < 2_000
    assert (await tenant.call("GET", TABLES))["results"] == [as_listed(table)]


async def test_an_option_that_means_nothing_for_the_format_is_refused(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "contracts" / "refused.parquet", a=[1])
    body = {"name": "t", "format": "Parquet", "url_pattern": str(path)}
    for field, value in (("delimiter", ";"), ("on_bad_row", "skip"), ("header", True), ("encoding", "latin-1")):
        refused = await tenant.error("POST", TABLES, {**body, field: value}, status=400)
        assert refused["attr"] == field
        assert "Parquet" in refused["detail"]


async def test_unknown_fields_are_ignored(tenant: Tenant, sources: Path) -> None:
    table = await added(tenant, csv_file(sources, tenant), options={"delimiter": ";"}, external_schema=1, folder_id="x")
    assert table["delimiter"] == ","


async def test_an_edit_of_the_name_alone_does_not_read_the_files(tenant: Tenant, sources: Path) -> None:
    path = csv_file(sources, tenant)
    table = await added(tenant, path)
    path.unlink()
    renamed = await changed(tenant, table, name="renamed", url_pattern=str(path), format="CSVWithNames")
    assert renamed == {**table, "name": "renamed"}
    for fields in ({"delimiter": ";"}, {"on_bad_row": "skip"}, {"columns": [{"name": "zip", "type": "VARCHAR"}]}):
        refused = await tenant.error("PATCH", f"{TABLES}{table['id']}/", fields, status=400)
        assert refused["attr"] == "url_pattern"
    await tenant.error("POST", f"{TABLES}{table['id']}/refresh_schema/", status=400)
    assert await tenant.call("GET", f"{TABLES}{table['id']}/") == renamed


async def test_edits_at_the_same_moment_do_not_undo_one_another(tenant: Tenant, sources: Path) -> None:
    path = csv_file(sources, tenant)
    table = await added(tenant, path)
    edits: list[Json] = [{"name": "renamed"}, {"null_text": "NA"}, {"on_bad_row": "skip"}]
    requests = [tenant.http.patch(f"{TABLES}{table['id']}/", json=edit) for edit in edits]
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} <= {200, 503}
    found = await tenant.call("GET", f"{TABLES}{table['id']}/")
    for answer, edit in zip(answers, edits, strict=True):
        for field, value in edit.items():
            assert answer.status_code == 503 or found[field] == value
    assert any(answer.is_success for answer in answers)


async def test_the_columns_of_an_answer_can_be_sent_back_and_state_only_what_was_stated(
    tenant: Tenant, sources: Path
) -> None:
    table = await added(tenant, csv_file(sources, tenant))
    same = await tenant.call("PUT", f"{TABLES}{table['id']}/", table)
    assert same == table
    edited = [{**column, "type": "DECIMAL(10,2)"} for column in table["columns"]]
    refused = await tenant.error("PATCH", f"{TABLES}{table['id']}/", {"columns": edited}, status=400)
    assert (refused["attr"], "said to be DECIMAL(10,2) and" in refused["detail"]) == ("columns", True)
