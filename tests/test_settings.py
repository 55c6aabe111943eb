"""Settings: a wrong or missing one stops the process at start, with one line that names it."""

import base64
from pathlib import Path

import pytest

from tests.support.commands import run_matview

GOOD = {"MATVIEW_DATABASE_URL": "postgresql://u:p@localhost/d", "MATVIEW_DATA_DIR": "/tmp/data"}  # noqa: S108

WEBHOOK_SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()
TOGETHER = "it and MATVIEW_WEBHOOK_URL are needed together"


@pytest.mark.parametrize("role", ["api", "worker", "migrate"])
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"MATVIEW_DATABASE_URL": None}, "error: MATVIEW_DATABASE_URL: is missing"),
        ({"MATVIEW_DATABASE_URL": "mysql://x"}, "error: MATVIEW_DATABASE_URL: it must start with postgresql://"),
        ({"MATVIEW_DATA_DIR": "relative"}, "error: MATVIEW_DATA_DIR: it must be an absolute path"),
        ({"MATVIEW_API_PORT": "http"}, "error: MATVIEW_API_PORT: "),
        ({"MATVIEW_SOURCE_ROOTS": "/data"}, "error: MATVIEW_SOURCE_ROOTS: "),
        ({"MATVIEW_SOURCE_DATABASES": "db:5432"}, "error: MATVIEW_SOURCE_DATABASES: it must be a JSON list of servers"),
        ({"MATVIEW_SOURCE_DATABASES": '["db"]'}, "error: MATVIEW_SOURCE_DATABASES: db is not a server of a database"),
        ({"MATVIEW_SOURCE_DATABASES": '["db:1?sslmode=prefer"]'}, "error: MATVIEW_SOURCE_DATABASES: db:1?sslmode="),
        ({"MATVIEW_PUBLIC_URL": "matview.example.com"}, "error: MATVIEW_PUBLIC_URL: it must start with http://"),
        ({"MATVIEW_TRUSTED_PROXIES": "10.0.0.7"}, "error: MATVIEW_TRUSTED_PROXIES: "),
        ({"MATVIEW_TRUSTED_PROXIES": '["proxy.example"]'}, "error: MATVIEW_TRUSTED_PROXIES: "),
        ({"MATVIEW_TRUSTED_PROXIES": "*"}, "error: MATVIEW_TRUSTED_PROXIES: it must be a JSON list of addresses"),
        ({"MATVIEW_API_CONNECTIONS": "0"}, "error: MATVIEW_API_CONNECTIONS: "),
        ({"MATVIEW_QUERY_TIMEOUT_SECONDS": "0"}, "error: MATVIEW_QUERY_TIMEOUT_SECONDS: "),
        (
            {"MATVIEW_QUERY_MEMORY_MB": "200", "MATVIEW_WORKER_MEMORY_MB": "100"},
            "error: MATVIEW_WORKER_MEMORY_MB: it must be at least MATVIEW_QUERY_MEMORY_MB, which is 200",
        ),
        ({"MATVIEW_WEBHOOK_URL": "ftp://x"}, "error: MATVIEW_WEBHOOK_URL: it must start with http:// or https://"),
        ({"MATVIEW_WEBHOOK_URL": "https://"}, "error: MATVIEW_WEBHOOK_URL: it must start with http:// or https://"),
        ({"MATVIEW_WEBHOOK_URL": "https://x"}, f"error: MATVIEW_WEBHOOK_SECRET: {TOGETHER}"),
        ({"MATVIEW_WEBHOOK_SECRET": WEBHOOK_SECRET}, f"error: MATVIEW_WEBHOOK_SECRET: {TOGETHER}"),
        (
            {"MATVIEW_WEBHOOK_URL": "https://x", "MATVIEW_WEBHOOK_SECRET": "whsec_c2hvcnQ="},
            "error: MATVIEW_WEBHOOK_SECRET: it must be whsec_ and then 24 to 64 bytes in base64",
        ),
        (
            {"MATVIEW_WEBHOOK_URL": "https://x", "MATVIEW_WEBHOOK_SECRET": WEBHOOK_SECRET.removeprefix("whsec_")},
            "error: MATVIEW_WEBHOOK_SECRET: it must be whsec_ and then 24 to 64 bytes in base64",
        ),
    ],
)
def test_a_wrong_setting_stops_the_process_with_one_line_that_names_it(
    role: str, change: dict[str, str | None], line: str, tmp_path: Path
) -> None:
    environment = {name: value for name, value in (GOOD | change).items() if value is not None}
    ended = run_matview(role, cwd=tmp_path, env=environment)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_a_database_that_does_not_answer_stops_a_migration_with_one_line(tmp_path: Path) -> None:
    url = f"postgresql://u:p@/d?host={tmp_path}"
    ended = run_matview("migrate", cwd=tmp_path, env=GOOD | {"MATVIEW_DATABASE_URL": url})
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: MATVIEW_DATABASE_URL: ")
    assert ended.stderr.count("\n") == 1
