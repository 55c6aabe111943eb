"""Who changed what. The API calls it a view's activity; in this code "activity" means Temporal's."""

from enum import StrEnum
from typing import Any

from orchestrator.model.base import Value


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


class Change(Value):
    """One field, before and after. `action` is `created`, `changed` or `deleted`."""

    field: str
    action: str
    before: Any = None
    after: Any = None
