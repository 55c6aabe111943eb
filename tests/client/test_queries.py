"""The SQL tool of PostHog's own client."""

from tests.client.support import Client
from tests.support.tenants import Tenant


async def test_a_query_is_run_and_its_rows_are_shown(client: Client, tenant: Tenant) -> None:
    await tenant.materialized("sums", "SELECT 'a' AS k, 40 + 2 AS total UNION ALL SELECT 'b', 1")
    answer = await client.attempt("execute-sql", query="SELECT k, total FROM sums ORDER BY k")
    assert answer.code == 0, answer.text
    assert "k|total" in answer.stdout
    assert "a|42" in answer.stdout


async def test_a_bad_query_is_an_error_with_duckdbs_words(client: Client, tenant: Tenant) -> None:
    assert tenant.project_id
    answer = await client.attempt("execute-sql", query="SELECT nothing FROM nowhere")
    answer.refused("Table with name nowhere does not exist")


async def test_the_tables_of_the_project_are_discovered(client: Client, tenant: Tenant) -> None:
    await tenant.create_view("one", "SELECT 1 AS n")
    sql = "SELECT table_name, column_name FROM system.information_schema.columns"
    answer = await client.attempt("execute-sql", query=sql)
    assert answer.code == 0, answer.text
    assert "one|n" in answer.stdout
