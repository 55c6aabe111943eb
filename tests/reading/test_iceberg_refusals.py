"""The Iceberg catalog refuses changes, odd names and columns without an Iceberg type, never with a server error."""

import httpx
import pytest

from tests.reading.iceberg_clients import catalog_url
from tests.support.tenants import Json, Tenant


async def test_nothing_can_be_changed_and_errors_have_icebergs_shape(tenant: Tenant, numbers: Json) -> None:
    headers = {"Authorization": f"Bearer {tenant.token}"}
    async with httpx.AsyncClient(base_url=catalog_url(tenant), headers=headers) as http:
        tables = f"/v1/{tenant.project_id}/namespaces/ns/tables"
        for method, path, status, kind in [
            ("POST", tables, 405, "UnsupportedOperationException"),
            ("DELETE", f"{tables}/numbers", 405, "UnsupportedOperationException"),
            ("GET", f"{tables}/none", 404, "NoSuchTableException"),
            ("GET", f"/v1/{tenant.project_id}/namespaces/none", 404, "NoSuchNamespaceException"),
            ("GET", "/v1/config?warehouse=x", 400, "BadRequestException"),
        ]:
            answer = await http.request(method, path)
            assert answer.status_code == status
            assert answer.json()["error"]["type"] == kind
            assert answer.json()["error"]["code"] == status
        assert (await http.head(f"{tables}/none")).status_code == 404
        assert (await http.head(f"{tables}/numbers")).status_code == 204
        page = (await http.get(tables, params={"pageSize": 1})).json()
        assert [one["name"] for one in page["identifiers"]] == ["numbers"]
    assert (await tenant.view(numbers["id"]))["status"] == "Completed"


async def test_columns_that_iceberg_cannot_name_are_refused_and_none_of_them_is_a_server_error(tenant: Tenant) -> None:
    deep = "1"
    for _ in range(60):
        deep = f"[{deep}]"
    queries = {
        "dotted": """SELECT 1 AS "a.b", {'b': 2} AS a""",
        "deep": f"SELECT {deep} AS d",
        "unnamed": "SELECT row(1, 2) AS r, row(1) AS one",
        "no_rows": "SELECT 1 AS n WHERE false",
        "odd": """SELECT 1 AS "x y", 2 AS "ü", 3 AS "a""b", 4 AS "😀" """,
    }
    answers = {}
    for name, query in queries.items():
        await tenant.materialized(name, query)
        path = f"{catalog_url(tenant)}/v1/{tenant.project_id}/namespaces/default/tables/{name}"
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {tenant.token}"}) as http:
            answers[name] = await http.get(path)
    assert answers["dotted"].json()["error"]["message"].startswith('The column "a" has a field')
    assert answers["deep"].json()["error"]["message"].startswith('The type of the column "d" is nested')
    assert [answers[name].status_code for name in ("no_rows", "odd")] == [200, 200]
    assert max(answer.status_code for answer in answers.values()) < 500


@pytest.mark.usefixtures("numbers")
async def test_a_hostile_client_gets_no_server_error(tenant: Tenant) -> None:
    headers = {"Authorization": f"Bearer {tenant.token}"}
    odd = [
        "%00",
        "a%00b",
        "%2F",
        "..%2F..",
        "%1F",
        "ns%1F",
        "%FF",
        "%ED%A0%80",
        "%F0%9F%98%80",
        "a" * 5000,
        "..",
        "%22",
    ]
    many = "9" * 5000
    async with httpx.AsyncClient(base_url=catalog_url(tenant), headers=headers, timeout=60) as http:
        namespaces = f"/v1/{tenant.project_id}/namespaces"
        paths = [f"/v1/{many}/namespaces", f"/v1/{tenant.project_id}/namespaces/ns/tables?pageSize={many}"]
        for word in odd:
            paths += [f"{namespaces}/{word}", f"{namespaces}/{word}/tables", f"{namespaces}/{word}/tables/numbers"]
            paths += [f"{namespaces}/ns/tables/{word}", f"{namespaces}/default/tables/{word}"]
            paths += [f"{namespaces}?parent={word}", f"/v1/config?warehouse={word}", f"{namespaces}/%20{word}"]
            paths += [f"{namespaces}/ns/tables?pageToken={word}"]
        for path in paths:
            for method in ("GET", "HEAD"):
                answer = await http.request(method, path)
                assert answer.status_code < 500, f"{method} {path[:200]}: {answer.status_code}"
                if answer.is_error and method == "GET":
                    assert answer.json()["error"]["code"] == answer.status_code
        for digits in (many, "1" + "0" * 10, "0" * 11 + "1", "0", "2147483648", "-1", "²"):
            assert (await http.get("/v1/config", params={"warehouse": digits})).status_code == 400
        for token in (many, "-1", "x", "²"):
            answer = await http.get(f"{namespaces}/ns/tables", params={"pageToken": token})
            assert answer.status_code == 400
        page = await http.get(f"{namespaces}/ns/tables", params={"pageToken": "9999999999"})
        assert page.json() == {"identifiers": [], "next-page-token": None}
        page = await http.get(f"{namespaces}/ns/tables", params={"pageToken": ""})
        assert [one["name"] for one in page.json()["identifiers"]] == ["numbers"]
        missing = await http.get(f"{namespaces}/tables/tables")
        assert missing.json()["error"]["type"] == "NoSuchNamespaceException"
