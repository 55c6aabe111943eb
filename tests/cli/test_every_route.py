"""Every route of the API has a command, and every command an example that it accepts."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from api.app import create_app
from orchestrator.cli.app import app
from orchestrator.cli.examples import EXAMPLES

COMMANDS = typer.main.get_command(app)

# By method and path below the project. A new route gets a command here, or a reason below.
BY_COMMAND = {
    "GET /warehouse_saved_queries/": "view list",
    "POST /warehouse_saved_queries/": "view create",
    "GET /warehouse_saved_queries/{saved_query_id}/": "view show",
    "PATCH /warehouse_saved_queries/{saved_query_id}/": "view edit",
    "DELETE /warehouse_saved_queries/{saved_query_id}/": "view delete",
    "GET /warehouse_saved_queries/{saved_query_id}/activity/": "view activity",
    "POST /warehouse_saved_queries/{saved_query_id}/ancestors/": "view dependencies",
    "POST /warehouse_saved_queries/{saved_query_id}/descendants/": "view dependencies",
    "GET /warehouse_saved_queries/{saved_query_id}/dependencies/": "view dependencies",
    "POST /warehouse_saved_queries/{saved_query_id}/materialize/": "view materialize",
    "POST /warehouse_saved_queries/{saved_query_id}/revert_materialization/": "view revert",
    "POST /warehouse_saved_queries/{saved_query_id}/run/": "view run",
    "POST /warehouse_saved_queries/{saved_query_id}/cancel/": "view cancel",
    "GET /warehouse_saved_queries/{saved_query_id}/run_history/": "view history",
    "POST /warehouse_saved_queries/resume_schedules/": "view resume",
    "GET /warehouse_saved_queries/{saved_query_id}/data/": "view rows",
    "GET /warehouse_saved_queries/{saved_query_id}/snapshots/": "view versions",
    "PATCH /warehouse_saved_queries/{saved_query_id}/snapshots/{snapshot_id}/": "view pin",
    "GET /warehouse_saved_queries/{saved_query_id}/snapshots/{snapshot_id}/quarantine/": "view quarantine",
    "GET /warehouse_saved_queries/{saved_query_id}/snapshots/{snapshot_id}/source_files/": "view sources",
    "POST /warehouse_saved_queries/{saved_query_id}/rollback/": "view rollback",
    "POST /query/": "query",
    "GET /generations/": "generation list",
    "POST /generations/": "refresh",
    "GET /generations/{generation_id}/": "generation show",
    "POST /generations/{generation_id}/cancel/": "generation cancel",
    "POST /console_links/": "console",
    "GET /status/": "status",
    "GET /warehouse_tables/": "table list",
    "POST /warehouse_tables/": "table add",
    "GET /warehouse_tables/{table_id}/": "table show",
    "PATCH /warehouse_tables/{table_id}/": "table update",
    "DELETE /warehouse_tables/{table_id}/": "table delete",
    "POST /warehouse_tables/{table_id}/refresh_schema/": "table refresh",
    "GET /": "status",
    "GET /warehouse_saved_queries/{saved_query_id}/snapshots/{snapshot_id}/diff/": "view diff",
    "POST /warehouse_saved_queries/{saved_query_id}/try/": "view try",
    "GET /warehouse_saved_queries/{saved_query_id}/tries/": "view tries",
    "GET /warehouse_saved_queries/{saved_query_id}/tries/{try_id}/": "view try",
    "POST /warehouse_saved_queries/{saved_query_id}/tries/{try_id}/promote/": "view promote",
    "DELETE /warehouse_saved_queries/{saved_query_id}/tries/{try_id}/": "view forget",
    "GET /warehouse_saved_queries/{saved_query_id}/checks/": "check list",
    "POST /warehouse_saved_queries/{saved_query_id}/checks/": "check add",
    "GET /warehouse_saved_queries/{saved_query_id}/checks/check_types/": "check types",
    "GET /warehouse_saved_queries/{saved_query_id}/checks/{check_id}/": "check show",
    "PATCH /warehouse_saved_queries/{saved_query_id}/checks/{check_id}/": "check edit",
    "DELETE /warehouse_saved_queries/{saved_query_id}/checks/{check_id}/": "check delete",
    "POST /warehouse_saved_queries/{saved_query_id}/checks/{check_id}/run/": "check run",
    "GET /warehouse_saved_queries/{saved_query_id}/checks/{check_id}/runs/": "check results",
    "GET /warehouse_saved_queries/{saved_query_id}/checks/{check_id}/runs/{result_id}/rows/": "check rows",
    "POST /warehouse_saved_queries/{saved_query_id}/snapshots/{snapshot_id}/promote/": "view publish",
    "GET /warehouse_tables/{table_id}/checks/": "check list",
    "POST /warehouse_tables/{table_id}/checks/": "check add",
    "GET /warehouse_tables/{table_id}/checks/{check_id}/": "check show",
    "PATCH /warehouse_tables/{table_id}/checks/{check_id}/": "check edit",
    "DELETE /warehouse_tables/{table_id}/checks/{check_id}/": "check delete",
    "POST /warehouse_tables/{table_id}/checks/{check_id}/run/": "check run",
    "GET /warehouse_tables/{table_id}/checks/{check_id}/runs/": "check results",
    "GET /definitions/": "export",
    "POST /definitions/plan/": "plan",
    "POST /definitions/test/": "test",
    "POST /definitions/apply/": "apply",
    "POST /warehouse_saved_queries/plan/": "view plan",
    "GET /lineage/": "lineage",
    "GET /saved_query_column_annotations/": "view describe",
    "POST /saved_query_column_annotations/": "view describe",
    "GET /warehouse_column_annotations/": "table describe",
    "POST /warehouse_column_annotations/": "table describe",
    "PATCH /saved_query_column_annotations/{annotation_id}/": "view describe",
    "PATCH /warehouse_column_annotations/{annotation_id}/": "table describe",
    "DELETE /saved_query_column_annotations/{annotation_id}/": "view describe",
    "DELETE /warehouse_column_annotations/{annotation_id}/": "table describe",
}
WITHOUT = {
    "PUT /warehouse_saved_queries/{saved_query_id}/": "it does what PATCH does",
    "PUT /warehouse_tables/{table_id}/": "it does what PATCH does",
    "HEAD /warehouse_saved_queries/{saved_query_id}/data/": "for programs that ask for the size of a file first",
    "DELETE /query/{client_query_id}/": "Ctrl-C of `matview query` calls it",
    "POST /mcp_tools/execute_sql/": "PostHog's client calls it; `matview query` is for people",
    "GET /api/personal_api_keys/@current/": "PostHog's client calls it; `matview key list` is for operators",
    "GET /api/users/@me/": "PostHog's client calls it",
    "GET /saved_query_column_annotations/{annotation_id}/": "`matview view describe` shows all of a view",
    "GET /warehouse_column_annotations/{annotation_id}/": "`matview table describe` shows all of a table",
    "GET /livez": "for probes; `matview doctor` looks at more",
    "GET /readyz": "for probes; `matview doctor` looks at more",
}


@pytest.fixture(scope="module")
def routes() -> set[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("DATABASE_URL", "postgresql://nowhere/x"), ("DATA_DIR", "/nowhere")):
            patch.setenv(f"MATVIEW_{name}", value)
        document = create_app().openapi()
    return {
        f"{method.upper()} {path.removeprefix('/api/projects/{project_id}')}"
        for path, operations in document["paths"].items()
        for method in operations
    }


def commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command and every group by its words, the program itself by none."""
    yield above.strip(), group
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


KNOWN = dict(commands(COMMANDS))


def test_every_route_of_the_api_has_a_command_or_a_reason(routes: set[str]) -> None:
    assert routes == set(BY_COMMAND) | set(WITHOUT)
    assert not set(BY_COMMAND) & set(WITHOUT)


def test_every_command_of_a_route_exists() -> None:
    assert set(BY_COMMAND.values()) <= set(KNOWN)


@pytest.mark.parametrize("words", sorted(KNOWN))
def test_the_help_of_every_command_has_an_example(words: str) -> None:
    command = KNOWN[words]
    context = command.make_context(words, [], resilient_parsing=True)
    assert re.search(r"^ +Examples?:\n +matview ", command.get_help(context), flags=re.MULTILINE), words


def test_every_example_is_of_a_command() -> None:
    assert set(EXAMPLES) <= set(KNOWN)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_is_a_command_line_that_is_accepted(line: str) -> None:
    program, *given = shlex.split(line)
    assert program == "matview"
    command: Any = COMMANDS
    while isinstance(command, TyperGroup):
        command = command.commands[given.pop(0)]
    command.make_context(line, given)
