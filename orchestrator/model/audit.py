"""Who changed what. The API calls it a view's activity; in this code "activity" means Temporal's."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.principal import User


class Verb(StrEnum):
    """What was done to a view."""

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


class FieldChange(Value):
    """One field, before and after. `action` is `created`, `changed` or `deleted`."""

    field: str
    action: str
    before: Any = None
    after: Any = None


class AuditEntry(Value):
    """What was done to a view, when and by whom. `user` None is the system itself; `name` is what it was called.

    One that `is_abridged` has lost its changes: the page has no room for them.
    """

    id: UUID
    item_id: UUID
    name: str
    verb: Verb
    changes: tuple[FieldChange, ...]
    user: User | None
    created_at: datetime
    is_abridged: bool = False
