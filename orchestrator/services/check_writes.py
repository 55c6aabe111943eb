"""Writes the checks of views and source tables that a change of definitions states, in its transaction."""

from collections.abc import Callable, Mapping
from uuid import UUID

from orchestrator.catalog import check_definitions
from orchestrator.catalog.database import Transaction
from orchestrator.model.audit import FieldChange
from orchestrator.model.check import CheckFields
from orchestrator.model.check_definition import CheckDefinition, Target
from orchestrator.model.names import name_key
from orchestrator.services.change_plans import Prepared
from orchestrator.services.check_changes import NO_CHECKS
from orchestrator.services.check_records import check_change, fields_of

# The view or source table of a name after the change.
Find = Callable[[str], Target]


class CheckWrites:
    """The checks that a change adds, changes and removes.

    They are collected by view and table, and written at its end, when all names are free that the change frees.
    """

    def __init__(self, prepared: Prepared, find: Find) -> None:
        self._differences = prepared.proposal.differences.checks
        self._reads = prepared.check_reads
        self._find = find
        self._added: list[tuple[Target, CheckFields]] = []
        self._changed: list[tuple[UUID, CheckFields]] = []
        self._removed: list[UUID] = []

    def collect(self, key: str) -> list[FieldChange]:
        """Note how the checks of a view or a table change; returns the same for the activity of a view."""
        found = self._differences.get(key, NO_CHECKS)
        entries: list[FieldChange] = []
        for number, new in found.added:
            fields = self._fields(key, number, new)
            self._added.append((self._find(key), fields))
            entries.append(check_change(None, fields))
        for one in found.changed:
            before = fields_of(one.before.check)
            fields = self._fields(key, one.number, one.after, before)
            if "assertion" not in one.fields:
                fields = fields.model_copy(update={"assertion": before.assertion})
            self._changed.append((one.before.check.id, fields))
            entries.append(check_change(before, fields))
        for gone in found.removed:
            self._removed.append(gone.check.id)
            entries.append(check_change(fields_of(gone.check), None))
        return entries

    async def write(self, tx: Transaction, project_id: int, user_id: int) -> None:
        """Write all that was collected."""
        await check_definitions.delete(tx, self._removed)
        await check_definitions.change(tx, self._changed)
        await check_definitions.add(tx, project_id, self._added, user_id=user_id)

    def _fields(self, key: str, number: int, check: CheckDefinition, before: CheckFields | None = None) -> CheckFields:
        """The fields to store. Those that say who wrote a check are no part of a definition, and stay."""
        author: Mapping[str, object] = {"created_source": "user", "ai_model": "", "confidence": None, "reasoning": ""}
        if before is not None:
            author = {name: getattr(before, name) for name in author}
        target = None if check.to is None else self._find(name_key(check.to))
        values = check.model_dump(include={"name", "description", "severity", "enabled", "tags"})
        reads = self._reads.get((key, number), ())
        return CheckFields.model_validate({**values, **author, "assertion": check.assertion(target), "reads": reads})
