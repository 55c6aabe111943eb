"""The versions of a view that its table shows as snapshots."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from orchestrator.iceberg.name_mapping import NameMapping
from orchestrator.iceberg.schema import Schema, SchemaCache
from orchestrator.model.errors import UnsupportedInFormat
from orchestrator.model.snapshot import Snapshot

_MOST_VERSIONS = 200
# The JSON of all schemas that are not alike. Clients parse it at each load, and the API makes it.
_MOST_CHARACTERS = 4_000_000


class ShownVersion(NamedTuple):
    """A version with its schema. The snapshot has no columns: 200 versions of 4,096 would take 400 MB."""

    snapshot: Snapshot
    schema: Schema


class ShownVersions:
    """The current version, and the newest others up to a number and a size. `names` are the fields of all of them.

    Making one and adding to it takes long for thousands of columns, so it is done in a thread. Raises
    UnsupportedInFormat if Iceberg cannot hold the current version; of others, those that it cannot hold are left out.
    """

    def __init__(
        self,
        schemas: SchemaCache,
        current: Snapshot,
        *,
        most_versions: int = _MOST_VERSIONS,
        most_characters: int = _MOST_CHARACTERS,
    ) -> None:
        self._schemas = schemas
        self._versions_left = most_versions
        self._characters_left = most_characters
        self._by_id: dict[UUID, ShownVersion] = {}
        self._digests: set[str] = set()
        self.names = NameMapping()
        self.current_id = current.id
        self.is_full = False
        self._show(current, schemas.of(current.columns))

    def add(self, snapshots: Sequence[Snapshot]) -> None:
        """Add versions, newest first, until one of them exceeds a limit: all older ones are left out then."""
        for snapshot in snapshots:
            if snapshot.id in self._by_id or self.is_full:
                continue
            try:
                schema = self._schemas.of(snapshot.columns)
            except UnsupportedInFormat:
                self._versions_left -= 1
            else:
                self._show(snapshot, schema)
            self.is_full = self.is_full or self._versions_left <= 0

    def oldest_first(self) -> list[ShownVersion]:
        """All of them."""
        return sorted(self._by_id.values(), key=lambda version: version.snapshot.created_at)

    def _show(self, snapshot: Snapshot, schema: Schema) -> None:
        if schema.digest not in self._digests:
            is_too_large = bool(self._by_id) and schema.characters > self._characters_left
            if is_too_large or not self.names.add(schema.fields):
                self.is_full = True
                return
            self._digests.add(schema.digest)
            self._characters_left -= schema.characters
        self._versions_left -= 1
        self._by_id[snapshot.id] = ShownVersion(snapshot.model_copy(update={"columns": ()}), schema)
