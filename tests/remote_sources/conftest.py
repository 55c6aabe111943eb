"""A bucket with files of a test's own, and servers that read it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import obstore
import pytest
from obstore.store import ObjectStore

from orchestrator.model.source_table import Credential
from orchestrator.remote_sources.locations import S3Defaults
from orchestrator.remote_sources.objects import ObjectTable, RemoteObjects
from orchestrator.stores.objects import open_objects
from tests.support.s3_server import BUCKET, S3Server


@dataclass(frozen=True)
class Bucket:
    """Files below a prefix of the test's own, of which `url` is the beginning."""

    objects: ObjectStore
    servers: RemoteObjects
    url: str
    credential: Credential

    async def put(self, name: str, content: bytes) -> None:
        await obstore.put_async(self.objects, name, content)

    async def table(self, pattern: str) -> ObjectTable:
        return await self.servers.open(f"{self.url}/{pattern}", self.credential)

    async def names(self, pattern: str) -> list[str]:
        found = await (await self.table(pattern)).list_files()
        return [one.url.removeprefix(f"{self.url}/") for one in found]


@pytest.fixture
async def bucket(s3: S3Server) -> AsyncIterator[Bucket]:
    prefix = str(uuid4())
    servers = RemoteObjects([f"{s3.endpoint}/"], S3Defaults())
    credential = Credential(access_key=s3.access_key_id, access_secret=s3.secret_access_key)
    yield Bucket(
        open_objects(f"s3://{BUCKET}/{prefix}", s3.options), servers, f"{s3.endpoint}/{BUCKET}/{prefix}", credential
    )
    await servers.close()
