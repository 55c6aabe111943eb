"""The credentials of source tables, and the remote files that are read with them."""

from dataclasses import dataclass
from uuid import UUID

from orchestrator.catalog import names, source_tables
from orchestrator.catalog.database import Database
from orchestrator.model.errors import InvalidSource
from orchestrator.model.file_patterns import is_database_pattern
from orchestrator.model.remote_files import is_same_place
from orchestrator.model.remote_tables import RemoteServers, RemoteTable
from orchestrator.model.source_table import Credential
from orchestrator.services.copied_tables import CopiedTables
from orchestrator.services.encryption import Encryptor


@dataclass(frozen=True)
class TableCredentials:
    """Keeps a credential encrypted. The API and the worker decrypt it when they open the files."""

    database: Database
    secrets: Encryptor

    def encrypt(self, credential: Credential) -> bytes:
        """The credential as the catalog stores it. Raises Invalid if this installation has no key."""
        return self.secrets.encrypt(credential.model_dump_json())

    async def of_table(self, table_id: UUID, url_pattern: str) -> Credential | None:
        """The credential of a table, for the place of this URL. Raises Invalid if it cannot be decrypted.

        If the table has the URL of another place by now, its credential is not for that of before: there is none then.
        Of a database, which is not read without one, that raises InvalidSource.
        """
        async with self.database.single() as tx:
            found = await source_tables.credential_of(tx, table_id)
        if found is None:
            return None
        of_url, sealed = found
        if is_same_place(of_url, url_pattern):
            return self._decrypted(sealed)
        if is_database_pattern(url_pattern):
            raise InvalidSource("its URL was changed after this run had begun.", attr="url_pattern")
        return None

    async def named(self, project_id: int, name: str, url_pattern: str) -> Credential | None:
        """The credential of the live table of that name, if there is one and it is for the place of that pattern.

        Raises Invalid as `of_table` does.
        """
        async with self.database.begin() as tx:
            table_id = await names.table_of(tx, project_id, name)
            table = None if table_id is None else await source_tables.find(tx, project_id, table_id)
            if table is None or not is_same_place(table.url_pattern, url_pattern):
                return None
            found = await source_tables.credential_of(tx, table.id)
            return None if found is None else self._decrypted(found[1])

    def _decrypted(self, sealed: bytes | None) -> Credential | None:
        return None if sealed is None else Credential.model_validate_json(self.secrets.decrypt(sealed))


@dataclass(frozen=True)
class CredentialedTables:
    """Opens the remote files of source tables, those that are stored with their credentials. A RemoteTables.

    A table of a database has one: its newest copy, which `copies` opens. Without `servers` there are no others.
    """

    servers: RemoteServers | None
    credentials: TableCredentials
    copies: CopiedTables

    async def open(self, url_pattern: str, credential: Credential | None) -> RemoteTable:
        """See RemoteTables."""
        if self.servers is None:
            raise InvalidSource(
                "This installation reads no remote files: its operator has to install matview[objects].",
                attr="url_pattern",
            )
        return await self.servers.open(url_pattern, credential)

    async def open_stored(self, table_id: UUID, url_pattern: str) -> RemoteTable:
        """See RemoteTables."""
        if is_database_pattern(url_pattern):
            return self.copies.open(table_id, url_pattern)
        return await self.open(url_pattern, await self.credentials.of_table(table_id, url_pattern))
