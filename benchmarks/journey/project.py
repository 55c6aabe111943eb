"""The project of the journey: three sources, ten views that read one another, and what its author changes later."""

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb

Rows = list[tuple[object, ...]]

VIEWS = {
    "stg_orders": "SELECT id, customer, amount::DECIMAL(10, 2) AS amount, day::DATE AS day FROM orders",
    "stg_customers": "SELECT id, upper(name) AS name, country FROM customers",
    "stg_returns": "SELECT order_id FROM returns",
    "kept_orders": "SELECT o.* FROM stg_orders o LEFT JOIN stg_returns r ON r.order_id = o.id WHERE r.order_id IS NULL",
    "orders_by_day": "SELECT day, count(*) AS orders, sum(amount) AS amount FROM kept_orders GROUP BY day",
    "orders_by_customer": "SELECT customer, count(*) AS orders, sum(amount) AS amount FROM kept_orders GROUP BY 1",
    "buyers": "SELECT c.name, o.amount FROM stg_customers c JOIN orders_by_customer o ON o.customer = c.id",
    "countries": (
        "SELECT c.country, sum(o.amount) AS amount FROM stg_customers c "
        "JOIN orders_by_customer o ON o.customer = c.id GROUP BY 1"
    ),
    "best": "SELECT name FROM buyers ORDER BY amount DESC LIMIT 1",
    "total": "SELECT sum(amount) AS amount FROM orders_by_day",
}
# These are evaluated inside the views that read them; the others are materialized.
PLAIN = {"stg_returns", "kept_orders"}
SOURCES = {
    "orders": "id,customer,amount,day\n1,1,10.50,2026-01-01\n2,2,20.00,2026-01-01\n3,1,5.25,2026-01-02\n",
    "customers": "id,name,country\n1,ada,UK\n2,grace,US\n",
    "returns": "order_id\n3\n",
}

# New data: a large order of the customer who was second.
NEWER_SOURCES = {**SOURCES, "orders": SOURCES["orders"] + "4,1,100.00,2026-01-03\n"}

# An edit that renames a column, and the same with the two views that read the column.
RENAMED = {"orders_by_customer": VIEWS["orders_by_customer"].replace("AS amount", "AS revenue")}
RENAMED_WITH_READERS = {
    **RENAMED,
    "buyers": VIEWS["buyers"].replace("o.amount", "o.revenue AS amount"),
    "countries": VIEWS["countries"].replace("o.amount", "o.revenue"),
}
UNCHANGED = {name: VIEWS[name] for name in RENAMED_WITH_READERS}


def data(sources: Mapping[str, str]) -> dict[str, str]:
    """The source files by their path in the project."""
    return {path_of(name): text for name, text in sources.items()}


def path_of(source: str) -> str:
    """The path of a source's file in the project."""
    return f"data/{source}.csv"


def spelled(sql: str, view: Callable[[str], str], source: Callable[[str], str]) -> str:
    """The statement with each view and each source that it reads written as another tool writes it."""

    def name(found: re.Match[str]) -> str:
        return f"{found[1]} {source(found[2]) if found[2] in SOURCES else view(found[2])}"

    return re.sub(r"\b(FROM|JOIN) (\w+)", name, sql)


def rows_of(connection: duckdb.DuckDBPyConnection, relation: str) -> Rows:
    """The rows of a relation, in an order that depends on their values only. Raises duckdb.Error."""
    return sorted(connection.execute(f"FROM {relation}").fetchall(), key=str)


def in_plain_duckdb(sources: Mapping[str, str], views: Mapping[str, str]) -> dict[str, Rows]:
    """The rows of each view as plain DuckDB computes them.

    Args:
        sources: The text of each source's file.
        views: The statement of each view, each after those that it reads.
    """
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        for name, text in sources.items():
            (Path(folder) / f"{name}.csv").write_text(text)
            connection.read_csv(f"{folder}/{name}.csv").create(name)
        for name, sql in views.items():
            connection.execute(f"CREATE VIEW {name} AS {sql}")
        return {name: rows_of(connection, name) for name in views}
