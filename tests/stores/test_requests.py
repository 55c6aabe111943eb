"""The requests that the store makes of an object store: each costs money, and some thirty milliseconds."""

from pathlib import Path
from uuid import uuid4

import obstore
import pytest

from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.stores.objects import ObjectSnapshotStore, open_objects
from tests.support.s3_server import BUCKET, S3Server

LOCATION = "1/view/run-1"
MIB = 1 << 20


@pytest.fixture
def prefix() -> str:
    return str(uuid4())


@pytest.fixture
def store(s3: S3Server, prefix: str, tmp_path: Path) -> ObjectSnapshotStore:
    return ObjectSnapshotStore(open_objects(f"s3://{BUCKET}/{prefix}", s3.options), tmp_path, tmp_path / "tmp")


async def sealed(store: ObjectSnapshotStore, size: int) -> tuple[SnapshotFile, ...]:
    folder = (await store.stage(LOCATION)).folder
    (folder / "f").write_bytes(b"x" * size)
    files = await store.measure(LOCATION, (SnapshotFile(name="f", rows=1, bytes=size),))
    await store.seal(LOCATION, files, b"{}")
    return files


async def test_a_small_result_takes_two_requests(store: ObjectSnapshotStore, s3: S3Server, prefix: str) -> None:
    files = await sealed(store, 1000)
    assert s3.requests(prefix) == {"PUT": 2}
    assert await store.is_whole(LOCATION, files)
    assert s3.requests(prefix) == {"PUT": 2, "LIST": 1}
    await store.read(store.file_url(LOCATION, "f"), 10, 20)
    assert s3.requests(prefix) == {"PUT": 2, "LIST": 1, "GET": 1}


async def test_a_large_file_is_sent_in_parts(store: ObjectSnapshotStore, s3: S3Server, prefix: str) -> None:
    await sealed(store, 20 * MIB)
    assert s3.requests(prefix) == {"PUT": 3 + 1, "POST": 2}


async def test_a_large_file_is_read_in_requests_that_end_soon_each_held_to_what_was_opened(
    store: ObjectSnapshotStore, s3: S3Server, prefix: str
) -> None:
    (file,) = await sealed(store, 20 * MIB)
    before = s3.requests(prefix)
    async with store.open_file(LOCATION, file.name) as opened:
        assert sum([len(chunk) async for chunk in opened.chunks(1, None)]) == 20 * MIB - 1
    assert (s3.requests(prefix) - before)["GET"] == 3
    async with store.open_file(LOCATION, file.name) as opened:
        chunks = opened.chunks(0, None)
        await anext(chunks)
        obstore.put(store._objects, store.relative_path(LOCATION, file.name), b"y" * 20 * MIB)
        with pytest.raises(StoreUnavailable):
            [chunk async for chunk in chunks]


async def test_a_version_goes_with_four_requests(store: ObjectSnapshotStore, s3: S3Server, prefix: str) -> None:
    await sealed(store, 10)
    before, deletes = s3.requests(prefix), s3.requests(f"{BUCKET}?delete")
    await store.discard(LOCATION)
    assert s3.requests(prefix) - before == {"LIST": 3}
    assert s3.requests(f"{BUCKET}?delete") - deletes == {"POST": 1}
    assert await store.list_locations() == []
