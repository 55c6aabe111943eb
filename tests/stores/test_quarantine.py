"""Rows that a run quarantined: their file lies beside the result, and is read a page at a time."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.model.errors import FileDamaged, NotFound, StoreUnavailable
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.stores.local import LocalStore
from orchestrator.stores.quarantine import LONGEST_TEXT, read_quarantine
from tests.stores.test_contract import LOCATION, write
from tests.support.tenants import quarantined, write_quarantine


def one_file(folder: Path) -> SnapshotFile:
    name = "quarantine/0.parquet"
    path = write_quarantine(folder / name, quarantined(1))
    return SnapshotFile(name=name, rows=1, bytes=path.stat().st_size)


async def test_a_file_in_a_folder_of_the_location_is_measured_and_sealed_with_the_others(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    files = (*await write(store), one_file(tmp_path / "staging" / LOCATION))
    measured = await store.measure(LOCATION, files)
    assert len({file.digest for file in measured}) == 2
    await store.seal(LOCATION, measured, b"{}")
    assert Path(store.file_url(LOCATION, "quarantine/0.parquet")).is_file()
    assert await store.list_locations() == [LOCATION]
    await store.discard(LOCATION)
    assert await store.list_locations() == []


async def test_a_file_in_a_folder_that_its_writer_did_not_list_is_not_sealed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    files = await write(store)
    one_file(tmp_path / "staging" / LOCATION)
    with pytest.raises(StoreUnavailable, match="not the ones that were written"):
        await store.measure(LOCATION, files)


async def test_a_file_in_a_folder_that_was_cut_short_or_is_missing_is_not_sealed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    folder = tmp_path / "staging" / LOCATION
    files = (*await write(store), one_file(folder))
    (folder / "quarantine" / "0.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreUnavailable, match="not as it was written"):
        await store.measure(LOCATION, files)
    (folder / "quarantine" / "0.parquet").unlink()
    with pytest.raises(StoreUnavailable, match="not the ones that were written"):
        await store.measure(LOCATION, files)


@pytest.mark.parametrize("is_folder", [True, False])
async def test_a_link_in_the_place_of_a_file_or_a_folder_is_not_sealed(tmp_path: Path, is_folder: bool) -> None:
    store = LocalStore(tmp_path / "store")
    folder = tmp_path / "store" / "staging" / LOCATION
    result = await write(store)
    elsewhere = one_file(tmp_path / "elsewhere")
    if is_folder:
        (folder / "quarantine").symlink_to(tmp_path / "elsewhere" / "quarantine")
    else:
        (folder / "quarantine").mkdir()
        (folder / elsewhere.name).symlink_to(tmp_path / "elsewhere" / elsewhere.name)
    with pytest.raises(StoreUnavailable):
        await store.measure(LOCATION, (*result, elsewhere))


@pytest.mark.parametrize(
    ("limit", "offset", "expected"),
    [
        (10, 0, range(10)),
        (10, 95, range(95, 105)),
        (1000, 0, range(1000)),
        (1000, 2_000, range(2_000, 2_500)),
        (3, 2_499, [2_499]),
        (3, 2_500, []),
        (3, 2**62, []),
    ],
)
@pytest.mark.parametrize("group", [7, 100, 10_000])
def test_a_page_holds_the_rows_that_it_is_asked_for(
    tmp_path: Path, limit: int, offset: int, expected: list[int], group: int
) -> None:
    path = write_quarantine(tmp_path / "0.parquet", quarantined(2_500), row_group_size=group)
    count, rows = read_quarantine(path, limit=limit, offset=offset)
    assert (count, [row.line for row in rows]) == (2_500, [*expected])
    assert all(row.text == f"text {row.line}" for row in rows)


def test_a_file_without_rows_gives_none(tmp_path: Path) -> None:
    path = write_quarantine(tmp_path / "0.parquet", quarantined(0))
    assert read_quarantine(path, limit=10, offset=0) == (0, [])


def test_long_texts_are_cut_and_what_is_not_known_is_none(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    row = {"file": None, "line": None, "column": None, "text": long, "reason": "too long", "row": long}
    path = write_quarantine(tmp_path / "0.parquet", [row])
    count, (found,) = read_quarantine(path, limit=10, offset=0)
    assert (count, found.file, found.line, found.column) == (1, None, None, None)
    assert found.text == found.row == "x" * LONGEST_TEXT + "…"


def test_a_file_that_is_gone_is_not_found_and_one_that_is_damaged_says_so(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    with pytest.raises(NotFound):
        read_quarantine(path, limit=1, offset=0)
    for content in (b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(FileDamaged):
            read_quarantine(path, limit=1, offset=0)
    pq.write_table(pa.table({"other": [1]}), path)
    with pytest.raises(FileDamaged):
        read_quarantine(path, limit=1, offset=0)
