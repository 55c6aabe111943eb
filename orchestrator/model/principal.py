"""API keys, their owners and scopes, and the projects in which they may be used."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from orchestrator.model.base import Value
from orchestrator.model.errors import PermissionDenied
from orchestrator.model.limits import Limits


class Scope(StrEnum):
    """A permission of a key. A `:write` scope includes the `:read` scope of the same object.

    Those of `warehouse_table` include those of `external_data_source`.
    """

    VIEW_READ = "warehouse_view:read"
    VIEW_WRITE = "warehouse_view:write"
    TABLE_READ = "warehouse_table:read"
    TABLE_WRITE = "warehouse_table:write"
    # PostHog's client asks for these where it describes tables.
    SOURCE_READ = "external_data_source:read"
    SOURCE_WRITE = "external_data_source:write"
    ACTIVITY_READ = "activity_log:read"
    QUERY_READ = "query:read"


class User(Value):
    """A person, as PostHog's API shows one."""

    id: int
    uuid: UUID
    distinct_id: str
    first_name: str
    last_name: str
    email: str


class Principal(Value):
    """The key that made a request, and its owner. `project_ids` None means every project."""

    key_id: UUID
    user: User
    scopes: frozenset[Scope]
    project_ids: frozenset[int] | None

    def require(self, scope: Scope) -> None:
        """Raise PermissionDenied unless the key has `scope`."""
        held = self.scopes | {Scope(s.replace(":write", ":read")) for s in self.scopes}
        held |= {Scope(s.replace("warehouse_table:", "external_data_source:")) for s in held}
        if scope not in held:
            raise PermissionDenied(f"API key missing required scope '{scope}'")

    def require_project(self, project_id: int) -> None:
        """Raise PermissionDenied unless the key may be used in the project."""
        if self.project_ids is not None and project_id not in self.project_ids:
            raise PermissionDenied("API key does not have access to the requested project.")


class ApiKey(Value):
    """A key as an operator sees it: everything but its token, which is never stored.

    `hint` is how the token begins; None if that was not stored. `last_used_at` may be a minute out of date.
    """

    id: UUID
    label: str
    hint: str | None
    email: str
    scopes: tuple[str, ...]
    project_ids: tuple[int, ...] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def state(self, moment: datetime) -> str:
        """The state of the key at that moment: `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= moment else "active"


class ProjectLimits(Value):
    """The limits of a project's queries, where they differ from those of the installation.

    Sizes in MiB; None: the installation's limit.
    """

    memory_mb: int | None = Field(default=None, ge=64)
    threads: int | None = Field(default=None, ge=1)
    temp_disk_mb: int | None = Field(default=None, ge=0)
    output_mb: int | None = Field(default=None, ge=1)
    timeout_seconds: float | None = Field(default=None, gt=0)

    def over(self, limits: Limits) -> Limits:
        """The installation's limits, overridden by those that the project has."""
        own = self.model_dump(exclude={"timeout_seconds"}, exclude_none=True)
        return limits.model_copy(update=own)


class Project(Value):
    """A tenant: every view, table and run belongs to exactly one."""

    id: int
    name: str
    limits: ProjectLimits = ProjectLimits()
