"""Translates texts for Spark, and checks those in its own dialect.

sqlglot, an extra, is loaded by the first request of a process, before that is confined.
"""

import importlib
from types import ModuleType
from typing import Any

from orchestrator.engines.duckdb.child.plan import Request, Task
from orchestrator.model.errors import InvalidQuery

_FOLDER = "orchestrator.engines.spark"


def _loaded() -> tuple[ModuleType, ModuleType]:
    """The translator, and the rules for Spark's own dialect."""
    return importlib.import_module(f"{_FOLDER}.translation"), importlib.import_module(f"{_FOLDER}.own_dialect")


def translate(request: Request) -> Task:
    """The statement `sql`, which is in DuckDB's dialect, in Spark's. `tables` are as for `describe`."""
    translation, _ = _loaded()
    return Task(lambda _: translation.translate(request["sql"], request["tables"]))


def study(request: Request) -> Task:
    """Each of `statements`, which are in Spark's own dialect, as `study_each` has those of DuckDB's."""
    _, own_dialect = _loaded()

    def studied(sql: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = own_dialect.study(sql)
        except InvalidQuery as error:
            return {"error": error.message, "position": None}
        return found

    return Task(lambda _: [studied(sql) for sql in request["statements"]])


def rewrite(request: Request) -> Task:
    """The statement `sql` in Spark's own dialect, over the tables `names`, and whether it is deterministic."""
    _, own_dialect = _loaded()
    sql = request["sql"]
    return Task(lambda _: [own_dialect.rewrite(sql, request["names"]), own_dialect.is_deterministic(sql)])
