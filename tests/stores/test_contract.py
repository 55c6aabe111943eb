"""The contract of every snapshot store; each store is one parameter."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.stores.base import SnapshotStore
from orchestrator.stores.local import LocalStore
from orchestrator.stores.objects import ObjectSnapshotStore, open_objects
from tests.support.s3_server import BUCKET, S3Server

LOCATION = "1/view/run-1"

MakeStore = Callable[[], SnapshotStore]


@pytest.fixture(params=["local", "s3"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Opens the store of a test. Opened again, it has the same content, as one in another process."""
    if request.param == "local":
        return lambda: LocalStore(tmp_path)
    server: S3Server = request.getfixturevalue("s3")
    url = f"s3://{BUCKET}/{uuid4()}"
    return lambda: ObjectSnapshotStore(open_objects(url, server.options), tmp_path, tmp_path / "tmp")


@pytest.fixture
def store(make_store: MakeStore) -> SnapshotStore:
    return make_store()


async def write(store: SnapshotStore, location: str = LOCATION, rows: int = 3) -> tuple[SnapshotFile, ...]:
    folder = (await store.stage(location)).folder
    path = folder / "data_0.parquet"
    pq.write_table(pa.table({"a": list(range(rows))}), path)
    return (SnapshotFile(name=path.name, rows=rows, bytes=path.stat().st_size),)


async def seal(store: SnapshotStore, location: str = LOCATION) -> tuple[SnapshotFile, ...]:
    files = await store.measure(location, await write(store, location))
    await store.seal(location, files, b"{}")
    return files


async def read(store: SnapshotStore, location: str = LOCATION) -> list[int]:
    async with store.on_disk(location, "data_0.parquet") as path:
        found: list[int] = pq.read_table(path)["a"].to_pylist()
    return found


async def is_there(store: SnapshotStore, name: str = "data_0.parquet") -> bool:
    try:
        async with store.on_disk(LOCATION, name) as path:
            return path.exists()
    except StoreUnavailable:
        return False


async def test_what_was_written_is_read_where_it_was_sealed(store: SnapshotStore) -> None:
    await seal(store)
    assert await read(store) == [0, 1, 2]


async def test_nothing_can_be_read_before_it_is_sealed(store: SnapshotStore) -> None:
    await write(store)
    assert not await is_there(store)


async def test_sealing_twice_is_sealing_once(store: SnapshotStore) -> None:
    files = await seal(store)
    await store.seal(LOCATION, files, b"{}")
    assert await read(store) == [0, 1, 2]


async def test_sealing_again_after_it_was_interrupted_seals(store: SnapshotStore, tmp_path: Path) -> None:
    files = await store.measure(LOCATION, await write(store))
    (tmp_path / "staging" / LOCATION / "manifest.json").write_text("half a man")
    assert await store.measure(LOCATION, files) == files
    await store.seal(LOCATION, files, b"{}")
    assert await store.manifest(LOCATION) == b"{}"


async def test_the_digest_of_a_file_is_that_of_its_content(store: SnapshotStore) -> None:
    (file,) = await seal(store)
    async with store.on_disk(LOCATION, file.name) as path:
        content = path.read_bytes()
    assert file.digest == f"xxh128:{xxhash.xxh3_128_hexdigest(content)}"


async def test_a_result_is_whole_if_all_files_are_there_with_their_sizes(store: SnapshotStore) -> None:
    files = await seal(store)
    assert await store.is_whole(LOCATION, files)
    assert not await store.is_whole(LOCATION, [file.model_copy(update={"bytes": 1}) for file in files])
    assert not await store.is_whole(LOCATION, [*files, files[0].model_copy(update={"name": "data_1.parquet"})])
    assert not await store.is_whole("1/view/none", files)


async def test_another_process_reads_what_was_sealed(make_store: MakeStore) -> None:
    await seal(make_store())
    assert await read(make_store()) == [0, 1, 2]


async def test_the_manifest_lies_beside_the_files(store: SnapshotStore) -> None:
    await seal(store)
    assert await store.manifest(LOCATION) == b"{}"


async def test_all_locations_are_listed_whether_staged_or_sealed(store: SnapshotStore) -> None:
    assert await store.list_locations() == []
    await seal(store)
    await store.stage("1/view/run-2")
    assert await store.list_locations() == ["1/view/run-1", "1/view/run-2"]
    await store.discard(LOCATION)
    await store.discard("1/view/run-2")
    assert await store.list_locations() == []


async def test_staging_again_begins_with_an_empty_folder(store: SnapshotStore) -> None:
    await write(store)
    assert list((await store.stage(LOCATION)).folder.iterdir()) == []


async def test_discarding_leaves_nothing_staged_or_sealed_and_may_be_repeated(store: SnapshotStore) -> None:
    await seal(store)
    await store.discard(LOCATION)
    await store.discard(LOCATION)
    assert not await is_there(store)
    assert list((await store.stage(LOCATION)).folder.iterdir()) == []


async def test_discarding_one_attempt_leaves_the_others(store: SnapshotStore) -> None:
    await seal(store, "1/view/run-2")
    await store.discard(LOCATION)
    assert await read(store, "1/view/run-2") == [0, 1, 2]


async def test_a_file_that_is_missing_is_not_sealed(store: SnapshotStore) -> None:
    (file,) = await write(store)
    with pytest.raises(StoreUnavailable, match="not the ones that were written"):
        await store.measure(LOCATION, (file, file.model_copy(update={"name": "data_1.parquet"})))


async def test_a_file_that_nobody_wrote_is_not_sealed(store: SnapshotStore) -> None:
    files = await write(store)
    (await store.stage("1/view/other")).folder.joinpath("x").touch()
    with pytest.raises(StoreUnavailable):
        await store.measure("1/view/other", files)


async def test_a_file_that_was_cut_short_is_not_sealed(store: SnapshotStore) -> None:
    (file,) = await write(store)
    path = (await store.stage("1/view/cut")).folder / file.name
    path.write_bytes(b"PAR1 and then the power went")
    with pytest.raises(StoreUnavailable, match="not as it was written"):
        await store.measure("1/view/cut", (file,))


@pytest.mark.parametrize("location", ["", "/etc", "a/../../b", ".."])
async def test_a_location_outside_the_store_is_refused(store: SnapshotStore, location: str) -> None:
    with pytest.raises(ValueError, match="not a location"):
        await store.stage(location)
    with pytest.raises(ValueError, match="not a location"):
        await store.discard(location)


async def test_a_disk_that_fails_is_a_transient_error(tmp_path: Path) -> None:
    (tmp_path / "staging").write_text("a file where a folder should be")
    with pytest.raises(StoreUnavailable):
        await LocalStore(tmp_path).stage(LOCATION)


async def test_the_path_of_the_current_snapshot_leads_where_it_was_last_pointed(
    tmp_path: Path,
) -> None:
    store = LocalStore(tmp_path)
    await seal(store)
    await seal(store, "1/view/run-2")
    assert await store.list_current() == {}
    for location in (LOCATION, "1/view/run-2", LOCATION):
        await store.point_current(1, {"ns.name": location})
        assert await store.list_current() == {(1, "ns.name"): location}
        assert pq.read_table(tmp_path / "current" / "1" / "ns.name" / "data_0.parquet").num_rows == 3
    await store.point_current(1, {"ns.name": None, "none": None})
    await store.point_current(1, {"ns.name": None, "none": None})
    assert await store.list_current() == {}


async def test_a_file_is_read_in_parts(store: SnapshotStore) -> None:
    (file,) = await seal(store)
    async with store.open_file(LOCATION, file.name) as opened:
        found = b"".join([chunk async for chunk in opened.chunks(4, file.bytes)])
        assert [chunk async for chunk in opened.chunks(1, 3)] == [b"AR"]
    assert (len(found), found[-4:]) == (file.bytes - 4, b"PAR1")
    await store.discard(LOCATION)
    with pytest.raises(StoreUnavailable):
        async with store.open_file(LOCATION, file.name):
            pass


async def test_a_file_that_is_open_is_read_to_its_end_though_it_is_deleted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (file,) = await seal(store)
    async with store.open_file(LOCATION, file.name) as opened:
        await store.discard(LOCATION)
        found = b"".join([chunk async for chunk in opened.chunks(4, file.bytes)])
    assert (len(found), found[-4:]) == (file.bytes - 4, b"PAR1")


async def test_a_project_has_a_folder_once_it_has_a_sealed_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert await store.project_folder(1) is None
    await seal(store)
    folder = await store.project_folder(1)
    assert folder is not None
    assert store.file_url(LOCATION, "data_0.parquet").startswith(f"{folder}/")


async def test_metadata_is_written_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await seal(store)
    for content in (b"first", b"second"):
        await store.add_metadata(LOCATION, "m.avro", content)
    assert (tmp_path / store.metadata_path(LOCATION, "m.avro")).read_bytes() == b"first"
    assert (tmp_path / store.relative_path(LOCATION, "data_0.parquet")).is_file()


async def test_metadata_beside_a_sealed_folder_goes_with_it(store: SnapshotStore) -> None:
    await seal(store)
    assert not await store.has_metadata(LOCATION, "m.avro")
    for content in (b"first", b"second"):
        await store.add_metadata(LOCATION, "m.avro", content)
    assert await store.has_metadata(LOCATION, "m.avro")
    assert await store.list_locations() == [LOCATION]
    await store.discard(LOCATION)
    assert not await store.has_metadata(LOCATION, "m.avro")
    assert await store.list_locations() == []
