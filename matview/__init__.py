"""Read the rows of views and the results of queries from a Matview server, as Arrow, pandas or polars.

import matview

with matview.connect("http://127.0.0.1:8000", "mv_…") as mv:
    orders = mv.view("orders_daily").to_pandas()
    best = mv.query("SELECT max(amount) AS most FROM orders_daily").to_arrow()
"""

from matview.connection import Connection, connect
from matview.errors import (
    Incomplete,
    MatviewError,
    NotFound,
    NotInstalled,
    QueryError,
    RunFailed,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from matview.results import Result
from matview.views import Column, Run, View

__all__ = [
    "Column",
    "Connection",
    "Incomplete",
    "MatviewError",
    "NotFound",
    "NotInstalled",
    "QueryError",
    "Result",
    "Run",
    "RunFailed",
    "TimedOut",
    "Unauthorized",
    "Unavailable",
    "View",
    "connect",
]
