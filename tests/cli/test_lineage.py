"""`matview lineage`."""

import json
import subprocess
import sys

import pytest

from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import CannedApi, Json
from tests.support.terminal import Terminal

PATH = "lineage/"
# Ten views over three source tables, as (name, what it reads).
SHOP = {
    "customers": [],
    "orders": [],
    "rates": [],
    "staging.customers": ["customers"],
    "staging.orders": ["orders"],
    "staging.rates": ["rates"],
    "orders_in_eur": ["staging.orders", "staging.rates"],
    "revenue_by_customer": ["orders_in_eur", "staging.customers"],
    "revenue_by_day": ["orders_in_eur"],
    "customers_with_a_name_that_is_longer_than_the_terminal_is_wide_so_is_cut": ["revenue_by_customer"],
    "best_customers": ["revenue_by_customer"],
    "board": ["revenue_by_day", "best_customers"],
    "constants": [],
}
TABLES = {"customers", "orders", "rates"}


def node(name: str, **more: object) -> Json:
    is_table = name in TABLES
    made = name in {"orders_in_eur", "revenue_by_customer", "board"}
    return {
        "id": f"id of {name}",
        "name": name,
        "kind": "table" if is_table else "view",
        "is_materialized": made,
        "status": "Completed" if made else None,
        "data_as_of": "2026-11-28T10:00:00.5Z" if made else None,
        "columns": None,
        "rows": None,
        **more,
    }


def graph(some: dict[str, list[str]] = SHOP, **nodes: Json) -> Json:
    return {
        "nodes": [nodes.get(name, node(name)) for name in sorted(some)],
        "edges": [{"from": f"id of {read}", "to": f"id of {name}"} for name, reads in some.items() for read in reads],
    }


def test_the_graph_is_drawn_from_what_reads_nothing_downwards(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", PATH, graph())
    assert matview("lineage").stdout.splitlines() == [
        "constants not materialized",
        "customers table",
        "└── staging.customers not materialized",
        "    └── revenue_by_customer Completed, as of 2026-11-28T10:00:00Z",
        "        ├── best_customers not materialized",
        "        │   └── board Completed, as of 2026-11-28T10:00:00Z",
        "        └── customers_with_a_name_that_is_longer_than_the_terminal_is_wide_so_is_cut not materialized",
        "orders table",
        "└── staging.orders not materialized",
        "    └── orders_in_eur Completed, as of 2026-11-28T10:00:00Z",
        "        ├── revenue_by_customer (see above)",
        "        └── revenue_by_day not materialized",
        "            └── board Completed, as of 2026-11-28T10:00:00Z",
        "rates table",
        "└── staging.rates not materialized",
        "    └── orders_in_eur (see above)",
    ]
    assert api.requests == [("GET", "/api/projects/7/lineage/", None)]


def test_a_terminal_of_80_columns_shows_every_line_of_ten_views_on_one_line(api: CannedApi) -> None:
    api.will_say("GET", PATH, graph())
    command = [sys.executable, "-m", "orchestrator", "lineage"]
    with Terminal(command, env=api.env | {"PATH": "", "PYTHONPATH": ":".join(sys.path)}) as terminal:
        lines = terminal.shows("    └── orders_in_eur (see above)").splitlines()
    assert len(lines) == 16
    assert all(len(line) <= 80 for line in lines), lines
    assert "        └── customers_with_a_name_that_is_longer_than_the_terminal_is_wide_so_i…" in lines


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("board",), "view=board"),
        (("board", "--upstream"), "view=board&direction=upstream"),
        (("board", "--downstream"), "view=board&direction=downstream"),
        (("board", "--upstream", "--downstream"), "view=board"),
        (("board", "--columns"), "view=board&columns=true"),
        (("--to-tables",), "columns=true&to_tables=true"),
    ],
)
def test_a_part_of_the_graph_is_asked_for_as_the_options_say(
    matview: Matview, api: CannedApi, arguments: tuple[str, ...], asked: str
) -> None:
    api.will_say("GET", PATH, graph())
    assert matview("lineage", *arguments).exit_code == 0
    assert api.requests == [("GET", f"/api/projects/7/lineage/?{asked}", None)]


def test_a_view_stands_above_what_it_reads_and_what_reads_it(matview: Matview, api: CannedApi) -> None:
    names = ("orders", "staging.orders", "staging.rates", "rates", "orders_in_eur", "revenue_by_day", "board")
    some = {name: [read for read in SHOP[name] if read in names] for name in names}
    api.will_say("GET", PATH, graph(some))
    assert matview("lineage", "ORDERS_in_eur").stdout.splitlines() == [
        "orders_in_eur Completed, as of 2026-11-28T10:00:00Z",
        "├── reads",
        "│   ├── staging.orders not materialized",
        "│   │   └── orders table",
        "│   └── staging.rates not materialized",
        "│       └── rates table",
        "└── is read by",
        "    └── revenue_by_day not materialized",
        "        └── board Completed, as of 2026-11-28T10:00:00Z",
    ]
    assert matview("lineage", "id of board", "--upstream").stdout.splitlines()[:3] == [
        "board Completed, as of 2026-11-28T10:00:00Z",
        "└── revenue_by_day not materialized",
        "    └── orders_in_eur Completed, as of 2026-11-28T10:00:00Z",
    ]


def test_columns_are_listed_with_what_they_are_computed_from_and_what_is_not_known(
    matview: Matview, api: CannedApi
) -> None:
    def ref(name: str, column: str | None) -> Json:
        return {"node": name, "column": column}

    def column(name: str, *sources: Json, also: tuple[Json, ...] = (), reason: str | None = None) -> Json:
        return {
            "column": name,
            "from": list(sources),
            "also_depends_on": list(also),
            "complete": reason is None,
            "reason": reason,
        }

    columns = [
        column("name", ref("customers", "name")),
        column("rank", also=(ref("orders", "amount"), ref("orders", None))),
        column("total", reason="It is not known."),
    ]
    rows = {"depends_on": [ref("orders", None), ref("customers", None)], "complete": True, "reason": None}
    api.will_say("GET", PATH, graph(board=node("board", columns=columns, rows=rows)))
    assert matview("lineage", "--columns").stdout.split("\n\n")[1].splitlines() == [
        "VIEW   COLUMN  FROM            ALSO DEPENDS ON",
        "board  name    customers.name  -",
        "board  rank    -               orders.amount, orders",
        "board  total   -               -",
        "board  (rows)  -               orders, customers",
        "not all is known of board.total: It is not known.",
    ]
    assert "board  rank" not in matview("lineage", "constants", "--columns").stdout


def test_mermaid_text_has_every_node_and_every_edge(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", PATH, graph({"orders": [], "a.b": ["orders"], "c$": ["a.b", "orders"]}))
    assert matview("lineage", "--mermaid").stdout.splitlines() == [
        "flowchart LR",
        '    n0["a.b"]',
        '    n1["c$"]',
        '    n2[("orders")]',
        "    n2 --> n0",
        "    n0 --> n1",
        "    n2 --> n1",
    ]


def test_json_is_the_answer_as_it_is(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", PATH, graph())
    assert json.loads(matview("lineage", "--json").stdout) == graph()


@pytest.mark.parametrize("arguments", [("--upstream",), ("--mermaid", "--columns"), ("--mermaid", "--json")])
def test_options_that_exclude_one_another_are_misuse(
    matview: Matview, api: CannedApi, arguments: tuple[str, ...]
) -> None:
    error = matview("lineage", *arguments).exception
    assert isinstance(error, Failure)
    assert error.status == 2
    assert api.requests == []


def test_the_output_can_be_piped(api: CannedApi) -> None:
    api.will_say("GET", PATH, graph())
    command = [sys.executable, "-m", "orchestrator", "lineage"]
    environment = api.env | {"PATH": "", "PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "utf-8"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, encoding="utf-8")
    assert "so_is_cut not materialized" in found.stdout
    assert "\x1b" not in found.stdout
