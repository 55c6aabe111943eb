"""The audit log of views. The API calls it a view's activity; in this code "activity" means Temporal's."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.principal import User


class Verb(StrEnum):
    """The kind of a change of a view."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    MATERIALIZATION_ENABLED = "materialization_enabled"
    MATERIALIZATION_DISABLED = "materialization_disabled"
    SYNC_TRIGGERED = "sync_triggered"
    SYNC_CANCELLED = "sync_cancelled"
    SYNC_PAUSED = "sync_paused"
    SYNC_RESUMED = "sync_resumed"
    ROLLED_BACK = "rolled_back"
    PROMOTED = "promoted"


class FieldChange(Value):
    """One field, before and after. `action` is `created`, `changed` or `deleted`."""

    field: str
    action: str
    before: Any = None
    after: Any = None


def broken_readers(names: Iterable[str]) -> list[FieldChange]:
    """The field of a change that was made though views stop binding: their names, sorted. Empty if there are none."""
    broken = sorted(set(names))
    return [FieldChange(field="break_dependents", action="changed", after=broken)] if broken else []


class AuditEntry(Value):
    """A change of a view, when it was made and by whom. `user` None is the system; `name` is the view's name then.

    One that `is_abridged` has no changes: they do not fit on the page.
    """

    id: UUID
    item_id: UUID
    name: str
    verb: Verb
    changes: tuple[FieldChange, ...]
    user: User | None
    created_at: datetime
    is_abridged: bool = False
