"""Verdicts: the same data checked by the product, by dbt's tests and by SQLMesh's audits, as their users type it.

The data is once good, and once breaks each check. The tools must say the same of each; what they count differs: dbt
counts the values that are not accepted, the others the rows.
"""

# ruff: noqa: S608 - every text is this program's own

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb

from benchmarks.common import Measurement, say, show
from benchmarks.journey.steps import Clock, Traveller
from benchmarks.journey.travellers import TRAVELLERS
from benchmarks.peers.subprocesses import PeerError, environment, typed

# A check by its name, and the rows that break it in the bad data.
_BROKEN = {"not_null": 3, "unique": 2, "accepted_values": 4, "relationships": 5, "no_loss": 6}
_KINDS = ("new", "paid", "sent", "back")
_ROWS = (
    "SELECT i AS id, i % 1000 AS customer, ['new', 'paid', 'sent', 'back'][1 + i % 4] AS kind, i % 97 AS amount "
    "FROM range({rows}) t(i)"
)
_BAD = (
    " UNION ALL SELECT {rows} + i, NULL, 'new', 1 FROM range(3) t(i)"
    " UNION ALL SELECT i, 1, 'new', 1 FROM range(2) t(i)"
    " UNION ALL SELECT {rows} + 10 + i, 1, 'lost', 1 FROM range(4) t(i)"
    " UNION ALL SELECT {rows} + 20 + i, 5000, 'new', 1 FROM range(5) t(i)"
    " UNION ALL SELECT {rows} + 30 + i, 1, 'new', -1 FROM range(6) t(i)"
)
_CUSTOMERS = "SELECT i AS id FROM range(1000) t(i)"

Verdicts = dict[str, int]


async def measure(folder: Path, rounds: int, rows: int) -> list[Measurement]:
    """Measure the command that makes the checks. Raises PeerError if a tool says otherwise of one than it should."""
    times: dict[str, list[float]] = {}
    for number in range(rounds):
        say(f"Round {number + 1} of {rounds}, load average {os.getloadavg()[0]:.1f}")
        for one in (made() for made in TRAVELLERS.values()):
            for kind in ("good", "bad"):
                place = folder / f"{one.key}-{kind}-{number}"
                seconds, found = await _check(one, place, _ROWS + (_BAD if kind == "bad" else ""), rows)
                right = _BROKEN if kind == "bad" else dict.fromkeys(_BROKEN, 0)
                if {name for name, failing in found.items() if failing} != {name for name, n in right.items() if n}:
                    raise PeerError(f"{one.title} says {found} of the {kind} data")
                say(f"{one.title}, {kind} data: {found}")
                times.setdefault(f"{one.title}: five checks of {kind} data", []).append(seconds)
                shutil.rmtree(place, ignore_errors=True)
    figures = [Measurement(name, values) for name, values in times.items()]
    show(f"Checks of {rows:,} rows, the command as a whole", figures)
    return figures


async def _check(traveller: Traveller, place: Path, sql: str, rows: int) -> tuple[float, Verdicts]:
    project = place / "project"
    (project / "data").mkdir(parents=True)
    with duckdb.connect() as connection:
        for name, select in (("orders", sql.format(rows=rows)), ("customers", _CUSTOMERS)):
            connection.execute(f"COPY ({select}) TO '{project}/data/{name}.parquet' (FORMAT parquet)")
    files, build, test, verdicts = _PROJECTS[traveller.key]
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    variables = environment(place, await traveller.programs(), **traveller.quiet)
    async with traveller.serving(project, variables):
        status, printed = await typed(build, project, variables)
        if status != 0:
            raise PeerError(f"`{build}` ended with {status}: {printed}")
        with Clock() as clock:
            _, printed = await typed(test, project, variables)
        return clock.taken.seconds, verdicts(project, printed)


def _ours(_project: Path, printed: str) -> Verdicts:
    found = json.loads(printed[printed.index("{") :])["checks"]
    return {one["check"]["name"]: one["result"]["failing_rows"] for one in found}


def _dbts(project: Path, _printed: str) -> Verdicts:
    found = json.loads((project / "target" / "run_results.json").read_text())["results"]
    return {next(name for name in _BROKEN if name in one["unique_id"]): one["failures"] for one in found}


def _sqlmeshs(_project: Path, printed: str) -> Verdicts:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    found = re.findall(r"^(\w+) on model \S+ .*?(PASS|FAIL \[(\d+)\])", plain, flags=re.MULTILINE)
    names = {"not_null_non_blocking": "not_null", "unique_values_non_blocking": "unique"}
    names |= {"accepted_values_non_blocking": "accepted_values"}
    return {names.get(name, name): int(number or 0) for name, _, number in found}


_LISTED = ", ".join(f"'{kind}'" for kind in _KINDS)
_READ = "SELECT * FROM read_parquet('data/{}.parquet')"
_OURS = {
    "sources.yml": "tables:\n"
    + "".join(f"  raw_{one}: {{format: parquet, path: data/{one}.parquet}}\n" for one in ("orders", "customers")),
    "views/customers.sql": "/*---\nfrequency: 24hour\n---*/\nSELECT * FROM raw_customers\n",
    "views/orders.sql": f"""\
/*---
frequency: 24hour
checks:
  - not_null: {{column: customer, name: not_null, severity: warn}}
  - unique: {{column: id, name: unique, severity: warn}}
  - accepted_values: {{column: kind, values: [{", ".join(_KINDS)}], name: accepted_values, severity: warn}}
  - relationships: {{column: customer, to: customers.id, name: relationships, severity: warn}}
  - custom_sql: {{query: SELECT * FROM orders WHERE amount < 0, name: no_loss, severity: warn}}
---*/
SELECT * FROM raw_orders
""",
}
_DBT = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels:\n  +materialized: table\n",
    "profiles.yml": "shop:\n  target: prod\n  outputs:\n    prod: {type: duckdb, path: shop.duckdb, threads: 2}\n",
    "models/orders.sql": _READ.format("orders"),
    "models/customers.sql": _READ.format("customers"),
    "models/schema.yml": f"""\
models:
  - name: orders
    columns:
      - name: id
        data_tests: [unique]
      - name: customer
        data_tests:
          - not_null
          - relationships: {{arguments: {{to: ref('customers'), field: id}}}}
      - name: kind
        data_tests:
          - accepted_values: {{arguments: {{values: [{", ".join(_KINDS)}]}}}}
""",
    "tests/no_loss.sql": "SELECT * FROM {{ ref('orders') }} WHERE amount < 0\n",
}
_SQLMESH = {
    "config.yaml": "gateways:\n  local:\n    connection: {type: duckdb, database: shop.duckdb, concurrent_tasks: 2}\n"
    'default_gateway: local\nmodel_defaults: {dialect: duckdb, start: "2026-01-01", cron: "@daily"}\n',
    "models/customers.sql": f"MODEL (name shop.customers, kind FULL);\n\n{_READ.format('customers')}\n",
    "models/orders.sql": f"""\
MODEL (name shop.orders, kind FULL, depends_on (shop.customers), audits (
  not_null_non_blocking(columns := (customer)),
  unique_values_non_blocking(columns := (id)),
  accepted_values_non_blocking(column := kind, is_in := ({_LISTED})),
  relationships,
  no_loss
));

{_READ.format("orders")}
""",
    "audits/own.sql": """\
AUDIT (name relationships, blocking false);
SELECT o.* FROM @this_model AS o ANTI JOIN shop.customers AS c ON o.customer = c.id WHERE o.customer IS NOT NULL;

AUDIT (name no_loss, blocking false);
SELECT * FROM @this_model WHERE amount < 0;
""",
}
_PROJECTS: Mapping[str, tuple[Mapping[str, str], str, str, Callable[[Path, str], Verdicts]]] = {
    "matview": (_OURS, "matview apply --yes", "matview test --json", _ours),
    "dbt": (_DBT, "dbt run", "dbt test", _dbts),
    "sqlmesh": (_SQLMESH, "sqlmesh plan --auto-apply --no-prompts", "sqlmesh audit", _sqlmeshs),
}
