"""A full disk, small and of the test's own: a run is tried again only if it did not fill the disk itself."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.disk import Disk
from orchestrator.engines.duckdb.disk_space import DiskSpace
from orchestrator.model.errors import DiskFull, OutputTooLarge
from orchestrator.model.run import Progress
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import WholeEngine, file_url, make_engine, make_plan

DISK_MB = 48
# 64 hexadecimal digits a row, which compression cannot make smaller than some 35 bytes.
SQL = "SELECT sha256(i::VARCHAR) AS a FROM range({}) r(i)"
TOO_MUCH, LITTLE = 20_000_000, 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", DISK_MB)
    disk.mount()
    if not disk.is_small:
        pytest.skip("a small file system takes root, on Linux")
    yield disk
    disk.unmount()


async def write(engine: WholeEngine, folder: Path, rows: int) -> int:
    folder.mkdir()
    sizes: list[int] = []

    def tell(progress: Progress) -> None:
        sizes.append(progress.bytes_written)

    return (await engine.write(make_plan(SQL.format(rows)), file_url, WriteTarget.local(folder), tell)).rows


@pytest.mark.usefixtures("disk")
async def test_a_result_that_is_larger_than_the_disk_is_too_large(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "disk" / "tmp")
    try:
        with pytest.raises(OutputTooLarge) as raised:
            await write(engine, tmp_path / "disk" / "target", TOO_MUCH)
        assert "does not fit on the disk" in raised.value.message
        assert "MiB that were free when it began" in raised.value.message
        assert list((tmp_path / "disk" / "target").iterdir()) == []
        assert await write(engine, tmp_path / "disk" / "after", LITTLE) == LITTLE
    finally:
        await engine.close()


async def test_a_disk_that_others_filled_may_be_emptied_by_them(disk: Disk, tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "disk" / "tmp")
    try:
        await disk.fill()
        with pytest.raises(DiskFull, match="The disk is full"):
            await write(engine, tmp_path / "disk" / "target", LITTLE * 5)
        await disk.relieve()
        assert await write(engine, tmp_path / "disk" / "after", LITTLE * 5) == LITTLE * 5
    finally:
        await engine.close()


@pytest.mark.usefixtures("disk")
def test_a_disk_that_others_fill_while_a_run_writes_is_not_the_doing_of_the_run(tmp_path: Path) -> None:
    target = tmp_path / "disk" / "target"
    target.mkdir()
    disk = DiskSpace(str(target))
    (target / "part").write_bytes(os.urandom(10 << 20))
    (tmp_path / "disk" / "others").write_bytes(b"x" * (37 << 20))
    assert disk.measure(str(target / "none")) == 10 << 20
    full = DiskFull()
    assert disk.classify(full, str(target / "none")) is full


@pytest.mark.usefixtures("disk")
def test_a_run_is_stopped_before_it_takes_the_last_of_the_disk(tmp_path: Path) -> None:
    target = tmp_path / "disk" / "target"
    target.mkdir()
    disk = DiskSpace(str(target))
    (target / "part").write_bytes(b"x" * (40 << 20))
    assert disk.measure(str(target / "none")) == 40 << 20
    (target / "more").write_bytes(b"x" * (7 << 20))
    with pytest.raises(OutputTooLarge, match="written 47 MiB of the 48 MiB"):
        disk.measure(str(target / "none"))
    assert isinstance(disk.classify(DiskFull(), str(target / "none")), OutputTooLarge)
