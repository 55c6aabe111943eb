"""The definitions of a project: its views and source tables, all that a person has decided of each.

Clients read and change them as a whole, as files say it. So a definition is complete: a field that a client leaves out
has its default, and does not keep what it had.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.model.base import Value
from orchestrator.model.check_definition import CheckDefinition
from orchestrator.model.engine import QueryText, query_text
from orchestrator.model.freshness import Freshness
from orchestrator.model.saved_query import SyncFrequency, Timing
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import AS_USUAL, ReadOptions, SourceFormat


class ViewDefinition(Value):
    """A view. `query` is the object as the client sends it; `timing` None: it is not materialized.

    `column_descriptions` are by the name of the column, which need not exist at the moment.
    """

    name: str
    query: dict[str, Any]
    description: str | None = None
    timing: Timing | None = None
    freshness: Freshness = Freshness.CLOCK
    max_staleness: SyncFrequency | None = None
    column_descriptions: Mapping[str, str] = {}
    checks: tuple[CheckDefinition, ...] = ()

    @property
    def is_materialized(self) -> bool:
        """Whether the view has a schedule of its own."""
        return self.timing is not None

    @property
    def text(self) -> QueryText:
        """All of the query that decides the view's result."""
        return query_text(self.query)

    @property
    def sql(self) -> str:
        """The statement itself."""
        return str(self.query.get("query", ""))


class TableDefinition(Value):
    """A source table, without its columns, which are read from its files. `stated` are those whose type is given."""

    name: str
    format: SourceFormat
    url_pattern: str
    options: ReadOptions = AS_USUAL
    stated: tuple[Column, ...] = ()
    description: str | None = None
    column_descriptions: Mapping[str, str] = {}
    checks: tuple[CheckDefinition, ...] = ()


class Definitions(Value):
    """The views and source tables of a project, or some of them."""

    views: tuple[ViewDefinition, ...] = ()
    tables: tuple[TableDefinition, ...] = ()


class Change(Value):
    """A change of a project: definitions to create or replace, by name, and names of views and tables to delete.

    `prune` deletes all views and tables that `definitions` does not have. `break_dependents` says that views which the
    change does not mention may stop binding.
    """

    definitions: Definitions
    delete: tuple[str, ...] = ()
    prune: bool = False
    break_dependents: bool = False
