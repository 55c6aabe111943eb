"""The files that a cluster has written into a bucket: fetched, kept apart from results, and swept."""

from pathlib import Path
from uuid import uuid4

import obstore
import pytest
from obstore.store import ObjectStore

from orchestrator.model.errors import InputMissing
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.stores.cluster_objects import ClusterObjects
from orchestrator.stores.objects import ObjectSnapshotStore, open_objects
from tests.support.s3_server import BUCKET, S3Server

LOCATION = "1/view/run-1"


@pytest.fixture
def url() -> str:
    return f"s3://{BUCKET}/{uuid4()}"


@pytest.fixture
def objects(s3: S3Server, url: str) -> ObjectStore:
    return open_objects(url, s3.options)


@pytest.fixture
def store(objects: ObjectStore, url: str, tmp_path: Path) -> ObjectSnapshotStore:
    return ObjectSnapshotStore(objects, tmp_path, tmp_path / "tmp", url=url)


@pytest.fixture
def files(objects: ObjectStore, url: str) -> ClusterObjects:
    return ClusterObjects(objects, url)


def keys(objects: ObjectStore) -> list[str]:
    return sorted(one["path"] for some in obstore.list(objects) for one in some)


async def test_the_files_of_a_cluster_get_the_names_of_results(
    store: ObjectSnapshotStore, files: ClusterObjects, objects: ObjectStore, url: str
) -> None:
    target = await store.stage(LOCATION)
    assert files.target_url(target) == f"{url}/staging/{LOCATION}"
    assert await files.measure(target) == 0
    contents = {"part_10.zst.parquet": b"c", "part_0.zst.parquet": b"aaa", "part_9.zst.parquet": b"bb"}
    others = {"_SUCCESS": b"", "_temporary/0/part_0.parquet": b"unfinished"}
    for name, content in (contents | others).items():
        obstore.put(objects, f"staging/{LOCATION}/{name}", content)
    obstore.put(objects, f"staging/{LOCATION}0/part_0.parquet", b"of another attempt")
    assert await files.measure(target) == 6 + len(b"unfinished")
    await files.collect(target, "abc")
    found = {path.name: path.read_bytes() for path in target.folder.iterdir()}
    assert found == {"data_0_abc.parquet": b"aaa", "data_1_abc.parquet": b"bb", "data_2_abc.parquet": b"c"}
    assert keys(objects) == [f"staging/{LOCATION}0/part_0.parquet"]


async def test_what_a_cluster_leaves_is_listed_and_goes_with_its_location(
    store: ObjectSnapshotStore, objects: ObjectStore
) -> None:
    obstore.put(objects, f"staging/{LOCATION}/part_0.parquet", b"late")
    assert await store.list_locations() == [LOCATION]
    await store.discard(LOCATION)
    assert (await store.list_locations(), keys(objects)) == ([], [])


async def test_late_files_of_a_cluster_do_not_change_a_sealed_result(
    store: ObjectSnapshotStore, files: ClusterObjects, objects: ObjectStore
) -> None:
    target = await store.stage(LOCATION)
    obstore.put(objects, f"staging/{LOCATION}/part_0.parquet", b"right")
    await files.collect(target, "abc")
    sealed = await store.measure(LOCATION, (SnapshotFile(name="data_0.parquet", rows=1, bytes=5),))
    await store.seal(LOCATION, sealed, b"{}")
    obstore.put(objects, f"staging/{LOCATION}/data_0.parquet", b"wrong")
    assert await store.is_whole(LOCATION, sealed)
    assert await store.read(store.file_url(LOCATION, "data_0.parquet"), 0, 5) == b"right"
    await files.require({store.file_url(LOCATION, "data_0.parquet"): 5})


async def test_a_file_that_is_gone_or_has_another_size_is_missing(
    store: ObjectSnapshotStore, files: ClusterObjects, objects: ObjectStore, url: str
) -> None:
    obstore.put(objects, f"snapshots/{LOCATION}/data_0.parquet", b"12345")
    name = store.file_url(LOCATION, "data_0.parquet")
    assert files.url(name) == f"{url}/snapshots/{LOCATION}/data_0.parquet"
    await files.require({name: 5})
    for wrong in ({name: 4}, {name: 5, store.file_url(LOCATION, "data_1.parquet"): 1}):
        with pytest.raises(InputMissing):
            await files.require(wrong)
