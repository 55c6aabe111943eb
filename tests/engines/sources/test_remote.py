"""Source tables in a bucket give the rows that the same files give on a disk."""

import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.engines.duckdb.sources.discovery import SourceFile, is_settled_remotely
from orchestrator.model.errors import InputReplaced, InvalidSource, QueryFailed
from orchestrator.model.remote_tables import RemoteTable
from orchestrator.model.source_table import Credential, SourceFormat
from orchestrator.model.write_target import WriteTarget
from orchestrator.remote_sources.locations import S3Defaults
from orchestrator.remote_sources.objects import RemoteObjects
from orchestrator.stores.objects import open_objects
from tests.engines.conftest import LIMITS, Result, Run, WholeEngine, file_url, make_plan
from tests.engines.sources.tables import Table, Tables
from tests.support.s3_server import BUCKET, S3Server

PARQUET, NAMED, CSV, JSON = (
    SourceFormat.PARQUET, SourceFormat.CSV_WITH_NAMES, SourceFormat.CSV, SourceFormat.JSON_EACH_ROW,
)  # fmt: skip


class WithKeys:
    """Opens all remote files with the same keys. See RemoteTables."""

    def __init__(self, servers: RemoteObjects, credential: Credential) -> None:
        self._servers, self._credential = servers, credential

    async def open(self, url_pattern: str, credential: Credential | None) -> RemoteTable:
        return await self._servers.open(url_pattern, credential or self._credential)

    async def open_stored(self, table_id: UUID, url_pattern: str) -> RemoteTable:  # noqa: ARG002 - the same for all
        return await self._servers.open(url_pattern, self._credential)


class Bucket:
    """A folder and a bucket with the same files."""

    def __init__(self, s3: S3Server, engine: WholeEngine, run: Run, local: Tables) -> None:
        prefix = str(uuid4())
        self._objects = open_objects(f"s3://{BUCKET}/{prefix}", s3.options)
        self._engine, self._run = engine, run
        self.local = local
        self.url = f"{s3.endpoint}/{BUCKET}/{prefix}"

    def over(self, pattern: str, kind: SourceFormat) -> Table:
        """A table over the files that are in the folder now, put into the bucket."""
        self.copy()
        return Table(self._engine, self._run, f"{self.url}/{pattern}", kind)

    def copy(self) -> None:
        for path in self.local.data.rglob("*"):
            if path.is_file():
                obstore.put(self._objects, str(path.relative_to(self.local.data)), path.read_bytes())

    def delete(self, name: str) -> None:
        obstore.delete(self._objects, name)


@pytest.fixture(scope="module")
async def far_engine(s3: S3Server, roots: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WholeEngine]:
    """An engine that reads the bucket too."""
    servers = RemoteObjects([f"{s3.endpoint}/"], S3Defaults())
    credential = Credential(access_key=s3.access_key_id, access_secret=s3.secret_access_key)
    scratch = tmp_path_factory.mktemp("scratch")
    engine = WholeEngine(
        SourceFileLister([roots], [], WithKeys(servers, credential)),
        limits=LIMITS,
        worker_memory_mb=4000,
        temp_dir=scratch,
        analysis_seconds=30,
    )
    yield engine
    await engine.close()
    await servers.close()


@pytest.fixture
def bucket(s3: S3Server, far_engine: WholeEngine, tables: Tables, tmp_path: Path) -> Bucket:
    async def run_far(sql: str, relations: object = (), timeout_seconds: float = 60) -> Result:
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        plan = make_plan(sql, relations, timeout_seconds)  # type: ignore[arg-type]
        return Result(await far_engine.write(plan, file_url, WriteTarget.local(folder), lambda _: None), folder)

    return Bucket(s3, far_engine, run_far, tables)


async def same(bucket: Bucket, pattern: str, kind: SourceFormat, **options: object) -> list[tuple[object, ...]]:
    """The rows of a table over the bucket, which are those of one over the folder."""
    near, far = bucket.local.over(pattern, kind), bucket.over(pattern, kind)
    assert await near.add(**options) == await far.add(**options)  # type: ignore[arg-type]
    rows = await far.rows()
    assert rows == await near.rows()
    assert rows
    return rows


MANY = 60_000


async def test_parquet_files_are_read(bucket: Bucket) -> None:
    for number in range(3):
        table = pa.table({"n": range(number * MANY, (number + 1) * MANY), "s": ["x" * 20] * MANY})
        pq.write_table(table, bucket.local.data / f"{number}.parquet")
    assert len(await same(bucket, "*.parquet", PARQUET)) == 3 * MANY


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [CSV, NAMED])
async def test_each_row_of_a_long_text_file_is_read_once(bucket: Bucket, kind: SourceFormat, packed: bool) -> None:
    """DuckDB reads a text file on from where another thread has stopped."""
    lines = [*(["n,s"] if kind is NAMED else []), *(f"{n},{'plain' * 20}" for n in range(2 * MANY)), ""]
    text = "\n".join(lines).encode()
    (bucket.local.data / f"1.csv{'.gz' if packed else ''}").write_bytes(gzip.compress(text) if packed else text)
    assert len(await same(bucket, "1.csv*", kind)) == 2 * MANY


async def test_json_lines_and_arrays_are_read(bucket: Bucket) -> None:
    bucket.local.write("1.json", "\n".join(f'{{"n": {n}, "l": [{n}]}}' for n in range(MANY)))
    bucket.local.write("2.json", '[{"n": 1, "l": []}, {"n": 2, "l": [12345678901234567890123]}]')
    assert len(await same(bucket, "*.json", JSON)) == MANY + 2


async def test_folders_named_key_value_are_columns(bucket: Bucket) -> None:
    for day, code in (("2026-01-01", "a%20b"), ("2026-01-02", "__HIVE_DEFAULT_PARTITION__")):
        bucket.local.write(f"day={day}/code={code}/1.csv", f"n\n{day[-1]}\n")
    rows = await same(bucket, "day=*/code=*/*.csv", NAMED, hive_partitioning=True)
    assert {row[1] for row in rows} == {"a b", None}


async def test_files_with_other_columns_text_options_and_odd_names_are_read(bucket: Bucket) -> None:
    bucket.local.write("it's [1] a.csv", "a;b\n1;2,5\n")
    bucket.local.write("ü#.csv", "b;a;c\n3,25;2;x\n")
    options = {"delimiter": ";", "decimal_separator": ",", "union_by_name": True}
    assert await same(bucket, "*.csv", NAMED, **options) == [(1, 2.5, None), (2, 3.25, "x")]


async def test_a_value_that_does_not_fit_is_named_with_the_url_of_its_file_and_its_line(bucket: Bucket) -> None:
    bucket.local.write("1.csv", "n\n1\n2\n")
    table = bucket.over("*.csv", NAMED)
    await table.add()
    bucket.local.write("2.csv", "n\n3\nfour\n")
    bucket.copy()
    said = await table.failure()
    assert f'{bucket.url}/2.csv, line 3: the column "n" is BIGINT, which "four" does not fit' in said
    assert "object://" not in said


async def test_rows_that_do_not_fit_are_kept_apart_if_that_is_asked_for(bucket: Bucket) -> None:
    bucket.local.write("1.csv", "n\n1\n2\n")
    table = bucket.over("*.csv", NAMED)
    await table.add(on_bad_row="quarantine")
    bucket.local.write("2.csv", "n\n3\nfour\n")
    bucket.copy()
    result = await table.read()
    assert sorted(result.rows()) == [(1,), (2,), (3,)]
    (left_out,) = result.written.rejected
    assert (left_out.rows, left_out.file is not None) == (1, True)


async def test_a_packed_file_that_was_cut_off_gives_no_rows(bucket: Bucket) -> None:
    whole = gzip.compress("\n".join(["n", *map(str, range(MANY))]).encode())
    (bucket.local.data / "1.csv.gz").write_bytes(whole)
    table = bucket.over("*.csv.gz", NAMED)
    await table.add()
    (bucket.local.data / "1.csv.gz").write_bytes(whole[: len(whole) // 2])
    bucket.copy()
    assert f"{bucket.url}/1.csv.gz" in await table.failure()


async def test_a_file_that_is_no_parquet_and_a_pattern_without_files_are_refused(bucket: Bucket) -> None:
    bucket.local.write("1.parquet", "not one")
    with pytest.raises(InvalidSource) as raised:
        await bucket.over("1.parquet", PARQUET).add()
    assert f"{bucket.url}/1.parquet" in raised.value.message
    assert "object_access" not in raised.value.message
    with pytest.raises(InvalidSource, match="No file matches"):
        await bucket.over("none*.parquet", PARQUET).add()


async def test_a_result_says_of_each_file_its_url_size_and_version(bucket: Bucket) -> None:
    pq.write_table(pa.table({"n": [1]}), bucket.local.data / "1.parquet")
    table = bucket.over("*.parquet", PARQUET)
    await table.add()
    (file,) = (await table.read()).written.sources["t"].files
    assert (file.path, file.bytes) == (f"{bucket.url}/1.parquet", (bucket.local.data / "1.parquet").stat().st_size)
    assert file.digest == file.identity
    assert str(file.identity).startswith('etag:"')
    assert file.modified_at is not None


async def test_a_file_that_is_replaced_while_a_query_reads_it_is_an_error_and_never_a_mix(bucket: Bucket) -> None:
    """The query reads a little of each row group after a long computation, in which the file is replaced."""
    columns = {"n": list(range(4 * MANY)), "s": [f"{n:050}" for n in range(4 * MANY)]}
    pq.write_table(pa.table(columns), bucket.local.data / "1.parquet", row_group_size=MANY, compression="none")
    table = bucket.over("*.parquet", PARQUET)
    await table.add()
    other = {"n": [-1] * 4 * MANY, "s": [f"{n:050}" for n in range(4 * MANY)]}
    engine = bucket._engine
    find = engine.source_lister.grant

    async def find_and_replace(*arguments: object) -> object:
        granted = await find(*arguments)  # type: ignore[arg-type]
        pq.write_table(pa.table(other), bucket.local.data / "1.parquet", row_group_size=MANY, compression="none")
        bucket.copy()
        return granted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.source_lister, "grant", find_and_replace)
        with pytest.raises((InputReplaced, QueryFailed)) as raised:
            await table.read("SELECT min(n) AS least, max(s) AS most FROM t")
    assert isinstance(raised.value, InputReplaced)
    assert (await table.read("SELECT min(n) AS least FROM t")).rows() == [(-1,)]


def test_a_time_of_a_second_ago_does_not_show_each_change() -> None:
    def settled(version: str, seconds_ago: float) -> bool:
        modified = time.time_ns() - int(seconds_ago * 1e9)
        return is_settled_remotely(SourceFile("https://x/a.csv", "object://a", 0, 1, modified, version))

    assert settled('etag:"d41d8cd98f00b204e9800998ecf8427e"', 0)
    assert settled('etag:"d41d8cd98f00b204e9800998ecf8427e-7"', 0)
    assert not settled('etag:"66f2c1a8-1f4"', 1)  # of a web server: the time in seconds, and the size
    assert settled('etag:"66f2c1a8-1f4"', 10)
    assert not settled("modified:2026-01-01T00:00:00+00:00", 1)
    assert settled("modified:2026-01-01T00:00:00+00:00", 10)
