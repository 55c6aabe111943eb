"""An object store over a network that fails: a result is there whole or not at all, and a repeated step succeeds."""

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.stores import objects
from orchestrator.stores.objects import ObjectSnapshotStore, open_objects
from tests.support.faulty_proxy import QUICK, FaultyProxy
from tests.support.s3_server import BUCKET, S3Server

RESULTS = 40
MIB = 1 << 20


@pytest.fixture(autouse=True)
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults often outlast the library's own retries, and a test does not wait for them."""
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=10), "base": 2}
    monkeypatch.setattr(objects, "_RETRIES", {"max_retries": 2, "backoff": backoff})


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(s3.endpoint, seed=7).running() as running:
        yield running


async def test_a_result_is_whole_or_not_there_whatever_requests_fail(
    s3: S3Server, proxy: FaultyProxy, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/{uuid4()}"
    store = ObjectSnapshotStore(
        open_objects(url, s3.options | {"endpoint": proxy.endpoint}), tmp_path / "a", tmp_path / "tmp"
    )
    calm = ObjectSnapshotStore(open_objects(url, s3.options), tmp_path / "b", tmp_path / "tmp")
    chosen, failed = random.Random(7), 0  # noqa: S311 - contents are no secret
    for number in range(RESULTS):
        location = f"1/view/run-{number}"
        # Some are sent in parts.
        contents = {
            f"data_{n}.parquet": chosen.randbytes(chosen.choice([10, 1000, 9 * MIB if n == 0 else 10]))
            for n in range(chosen.randint(1, 3))
        }
        folder = (await store.stage(location)).folder
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        files = await store.measure(
            location, [SnapshotFile(name=name, rows=1, bytes=len(content)) for name, content in contents.items()]
        )
        manifest = f"manifest {number}".encode()
        proxy.rate = 0.5
        is_sealed = False
        while not is_sealed:
            try:
                await store.seal(location, files, manifest)
                is_sealed = True
            except StoreUnavailable:
                failed += 1
            try:
                found = await calm.manifest(location)
            except StoreUnavailable:
                assert not is_sealed
            else:
                assert found == manifest
                assert await calm.is_whole(location, files)
                for name, content in contents.items():
                    assert await calm.read(calm.file_url(location, name), 0, len(content)) == content
        name, content = next(iter(contents.items()))
        for _ in range(3):
            with suppress(StoreUnavailable):  # and no other error, and never bytes that are none
                assert await store.read(store.file_url(location, name), 2, 8) == content[2:8]
        proxy.rate = 0.0
    assert set(proxy.faults) == set(QUICK)
    assert failed
    assert await calm.list_locations() == sorted(f"1/view/run-{number}" for number in range(RESULTS))


async def test_a_server_that_is_away_is_a_transient_error_without_a_secret(
    s3: S3Server, proxy: FaultyProxy, tmp_path: Path
) -> None:
    store = ObjectSnapshotStore(
        open_objects(f"s3://{BUCKET}/x", s3.options | {"endpoint": proxy.endpoint}), tmp_path, tmp_path / "tmp"
    )
    proxy.rate = 1.0
    for step in (
        lambda: store.manifest("1/v/1"),
        store.list_locations,
        lambda: store.read(store.file_url("1/v/1", "f"), 0, 1),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            await step()
        assert raised.value.message.startswith("The object store failed: ")
        assert s3.secret_access_key not in raised.value.message
        assert s3.access_key_id not in raised.value.message
