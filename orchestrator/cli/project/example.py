"""The example project that `matview init` writes."""

from pathlib import Path

from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure
from orchestrator.cli.project.files import SOURCES, VIEWS
from orchestrator.cli.project.unit_test_files import TESTS

_README = """\
# A shop

Three source tables (`sources.yml`, over the files in `data/`) and five views in `views/`. Beside a running
`matview dev`:

    matview plan               # what would change
    matview apply              # change it, and refresh what has changed
    matview view rows best_customers
    matview refresh --all      # after new data
    matview test               # the tests in tests/, and all checks

A view has the name of its file. The comment at its beginning says how often it is refreshed; a view without a frequency
is evaluated inside those that read it. Folders below `views/` are only for people.
"""
_SOURCES = """\
tables:
  orders:
    format: CSVWithNames
    path: data/orders/*.csv
    columns:
      amount: DECIMAL(10, 2)
  customers:
    format: CSVWithNames
    path: data/customers.csv
  returns:
    format: CSVWithNames
    path: data/returns.csv
"""
_FILES = {
    "README.md": _README,
    SOURCES: _SOURCES,
    "data/orders/2026-01.csv": (
        "id,customer,amount,day\n1,1,10.50,2026-01-03\n2,2,20.00,2026-01-03\n3,1,5.25,2026-01-17\n4,3,99.00,2026-01-30\n"
    ),
    "data/orders/2026-02.csv": "id,customer,amount,day\n5,2,12.00,2026-02-02\n6,1,7.75,2026-02-14\n",
    "data/customers.csv": "id,name,country\n1,Ada,UK\n2,Grace,US\n3,Edsger,NL\n",
    "data/returns.csv": "order_id\n4\n",
    f"{VIEWS}/staging/kept_orders.sql": """\
/*---
description: Orders that were not returned
---*/
SELECT id, customer, amount, day
FROM orders
WHERE id NOT IN (SELECT order_id FROM returns)
""",
    f"{VIEWS}/staging/named_customers.sql": """\
SELECT id AS customer, name, country
FROM customers
""",
    f"{VIEWS}/orders_by_day.sql": """\
/*---
description: Orders and revenue of each day
frequency: 1hour
---*/
SELECT day, count(*) AS orders, sum(amount) AS revenue
FROM kept_orders
GROUP BY day
ORDER BY day
""",
    f"{VIEWS}/orders_by_customer.sql": """\
/*---
description: Orders and revenue of each customer
frequency: 1hour
---*/
SELECT customer, name, country, count(*) AS orders, sum(amount) AS revenue
FROM kept_orders
JOIN named_customers USING (customer)
GROUP BY ALL
""",
    f"{TESTS}/orders_by_day.yml": """\
- name: orders_that_were_returned_do_not_count
  view: orders_by_day
  given:
    orders:
      - {id: 1, amount: 10.50, day: 2026-01-03}
      - {id: 2, amount: 20, day: 2026-01-03}
      - {id: 3, amount: 5, day: 2026-01-04}
    returns:
      - {order_id: 3}
  expect:
    - {day: 2026-01-03, orders: 2, revenue: 30.50}
""",
    f"{VIEWS}/best_customers.sql": """\
/*---
description: The customers with the most revenue
frequency: 24hour
freshness: upstream
---*/
SELECT name, country, revenue
FROM orders_by_customer
ORDER BY revenue DESC
LIMIT 10
""",
}


def write(folder: Path) -> list[Path]:
    """Write the example; returns its files. Raises Failure, with nothing written, if one of them exists."""
    paths = {folder / name: text for name, text in _FILES.items()}
    existing = [str(path) for path in paths if path.exists()]
    if existing or (folder / VIEWS).exists():
        raise Failure(f"there is a project in {folder.absolute()} already: {', '.join(existing) or VIEWS}", EXIT_USAGE)
    for path, text in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [*paths]
