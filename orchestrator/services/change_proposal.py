"""A change of a project's definitions, laid beside what the project has."""

from collections.abc import Mapping
from functools import cached_property

from orchestrator.catalog.definitions import StoredDefinitions
from orchestrator.model.change_plan import Kind, Problem
from orchestrator.model.definition_graph import DefinitionGraph
from orchestrator.model.definitions import ViewDefinition
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.snapshot import Column
from orchestrator.services.definition_changes import Differences

_NO_VIEW = ViewDefinition(name="", query={})


class Proposal:
    """The stored definitions, the differences from them, and the inputs of statements that differ.

    `table_columns` are those of the tables that change. `graph` is that of the project after the change.
    """

    def __init__(
        self,
        stored: StoredDefinitions,
        differences: Differences,
        reads: Mapping[str, tuple[str, ...]],
        table_columns: Mapping[str, tuple[Column, ...]],
    ) -> None:
        self.stored = stored
        self.differences = differences
        self.reads = reads
        self.table_columns = table_columns
        kept = {key: one.reads for key, one in stored.views.items() if key not in differences.deleted_views}
        new = {key: () for key in differences.views if key not in kept}
        self.graph = DefinitionGraph(kept | new | dict(reads))

    def definition(self, key: str) -> ViewDefinition:
        """A view after the change; an empty one if there is none."""
        if key in self.differences.views:
            return self.differences.views[key]
        return self.stored.views[key].definition if key in self.graph.reads else _NO_VIEW

    def name(self, key: str) -> str:
        """The name of a view or table, spelled as it will be, or as it was."""
        for some in (self.differences.views, self.differences.tables):
            if key in some:
                return some[key].name
        for stored in (self.stored.views, self.stored.tables):
            if key in stored:
                return stored[key].definition.name
        return key

    def is_materialized(self, key: str) -> bool:
        """Whether the key is that of a view which is materialized after the change."""
        return self.definition(key).is_materialized

    def is_plain(self, key: str) -> bool:
        """Whether the key is that of a view which is not materialized after the change."""
        return key in self.graph.reads and not self.is_materialized(key)

    def is_reverted(self, key: str) -> bool:
        """Whether the view stops being materialized, so that its readers see the result of its text."""
        return key in self.stored.views and "timing" in self.differences.view_fields.get(key, ()) and self.is_plain(key)

    def problem(self, key: str, error: OrchestratorError) -> Problem:
        """A reason for which a view cannot be as the change says."""
        return Problem(kind=Kind.VIEW, name=self.name(key), message=error.message, position=error.position)

    @cached_property
    def affected(self) -> set[str]:
        """The views whose columns may be others after the change, or that may bind no more."""
        found = self.differences
        started = {*found.queries, *self.table_columns, *found.deleted_views, *found.deleted_tables}
        started |= {key for key in found.views if self.is_reverted(key)}
        return (set(found.queries) | self.graph.below(started)) & self.graph.reads.keys()
