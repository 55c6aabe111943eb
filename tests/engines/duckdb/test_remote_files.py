"""Results in an object store: what a query reads of them, and what its process cannot read."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import pyarrow.parquet as pq
import pytest
from obstore.store import ObjectStore

from orchestrator.engines.base import QueryResult
from orchestrator.engines.duckdb import child_process
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.duckdb.object_links import ObjectLinks, granted_results
from orchestrator.engines.duckdb.object_wire import LENGTH, MOST_BYTES
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.model.errors import InputMissing, QueryFailed, StoreUnavailable
from orchestrator.model.remote_files import RemoteFile
from orchestrator.model.run import Relation, SnapshotRelation
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.stores.objects import ObjectSnapshotStore, open_objects
from tests.engines.conftest import ID, LIMITS, make_plan, view
from tests.engines.duckdb import unruly
from tests.support.s3_server import BUCKET, S3Server


class Project:
    """The views of a project, whose results are in a bucket."""

    def __init__(self, objects: ObjectStore, engine: DuckDBEngine, store: ObjectSnapshotStore) -> None:
        self.objects, self.engine, self.store = objects, engine, store

    async def write(self, sql: str, relations: Sequence[Relation] = ()) -> tuple[str, QueryResult]:
        """Run a query, and seal its result; returns its location."""
        location = f"1/{uuid4()}/1"
        target = await self.store.stage(location)
        written = await self.engine.write(make_plan(sql, relations), self.store.file_url, target, lambda _: None)
        await self.store.seal(location, await self.store.measure(location, written.files), b"{}")
        return location, written

    async def result(self, name: str, sql: str, relations: Sequence[Relation] = ()) -> SnapshotRelation:
        """The result of a query, as an input of others."""
        location, written = await self.write(sql, relations)
        return SnapshotRelation(
            name=name, id=ID, snapshot_id=ID, location=location, files=written.files, columns=written.columns
        )

    async def rows(self, sql: str, relations: Sequence[Relation] = ()) -> list[tuple[object, ...]]:
        location, written = await self.write(sql, relations)
        found: list[tuple[object, ...]] = []
        for file in written.files:
            async with self.store.on_disk(location, file.name) as path:
                found += [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
        return found


@pytest.fixture
async def project(s3: S3Server, tmp_path: Path) -> AsyncIterator[Project]:
    objects = open_objects(f"s3://{BUCKET}/{uuid4()}", s3.options)
    store = ObjectSnapshotStore(objects, tmp_path, tmp_path / "tmp")
    lister = SourceFileLister([], [])
    engine = DuckDBEngine(
        lister, limits=LIMITS, worker_memory_mb=4 * LIMITS.memory_mb, temp_dir=tmp_path / "tmp", remote_files=store
    )
    yield Project(objects, engine, store)
    await engine.close()
    await lister.close()


async def test_a_query_reads_results_in_the_bucket_and_its_own_goes_there(project: Project) -> None:
    base = await project.result("base", "SELECT i, i % 3 AS k FROM range(100000) t(i)")
    counted = "SELECT k, count(*) AS n, sum(i)::BIGINT AS s FROM base GROUP BY k ORDER BY k"
    expected = [(k, len(of := range(k, 100000, 3)), sum(of)) for k in range(3)]
    assert await project.rows(counted, [base]) == expected
    below = await project.result("below", "SELECT k FROM base WHERE i < 10", [base])
    plain = view("plain", "SELECT k FROM base LIMIT 2")
    assert await project.rows("SELECT count(*) AS n FROM below, plain", [below, base, plain]) == [(20,)]


async def test_a_kept_process_reads_for_each_query_what_that_reads(project: Project) -> None:
    one = await project.result("one", "SELECT 1 AS n")
    (process,) = project.engine._processes._idle
    two = await project.result("two", "SELECT 2 AS n")
    assert await project.rows("SELECT n FROM one", [one]) == [(1,)]
    assert await project.rows("SELECT n FROM two", [two]) == [(2,)]
    assert project.engine._processes._idle == [process]
    assert process.child.links is not None
    assert [*process.child.links.granted] == [project.store.file_url(two.location, two.files[0].name)]


async def test_a_query_past_the_rules_for_views_reads_no_other_object(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = await project.result("theirs", "SELECT 'a secret' AS s")
    await project.engine._processes.close()
    monkeypatch.setattr(child_process, "serve", unruly.serve)
    own = DuckDBEngine(
        SourceFileLister([], []),
        limits=LIMITS,
        worker_memory_mb=4 * LIMITS.memory_mb,
        temp_dir=project.store._temp_dir,
        remote_files=project.store,
    )
    unchecked = Project(project.objects, own, project.store)
    try:
        mine = await unchecked.result("mine", "SELECT 1 AS n")
        url = project.store.file_url(theirs.location, theirs.files[0].name)
        other = project.store.file_url(mine.location, mine.files[0].name)
        assert await unchecked.rows(f"SELECT n FROM read_parquet('{other}')", [mine]) == [(1,)]  # the rules are off
        for path in (url, f"{url}x", "object://*/*/*/*", f"object://{theirs.location}/manifest.json"):
            with pytest.raises((QueryFailed, StoreUnavailable)) as raised:
                await unchecked.rows(f"SELECT * FROM read_parquet('{path}'), mine", [mine])
            assert "secret" not in raised.value.message
    finally:
        await own.close()


async def test_an_object_that_is_replaced_or_gone_is_an_error_and_never_a_mix(project: Project) -> None:
    base = await project.result("base", "SELECT i FROM range(10) t(i)")
    assert await project.rows("SELECT sum(i)::BIGINT AS s FROM base", [base]) == [(45,)]
    key = project.store.relative_path(base.location, base.files[0].name)
    content = bytes(obstore.get(project.objects, key).bytes())
    obstore.put(project.objects, key, content[:-1] + b"?")
    with pytest.raises(StoreUnavailable, match="precondition"):
        await project.rows("SELECT sum(i) AS s FROM base", [base])
    obstore.delete(project.objects, key)
    with pytest.raises(InputMissing, match="no longer exists in the object store"):
        await project.rows("SELECT sum(i) AS s FROM base", [base])


async def test_a_file_that_is_shorter_than_was_written_is_an_error(project: Project) -> None:
    base = await project.result("base", "SELECT i FROM range(10) t(i)")
    obstore.put(project.objects, project.store.relative_path(base.location, base.files[0].name), b"PAR1")
    with pytest.raises(StoreUnavailable):
        await project.rows("SELECT sum(i) AS s FROM base", [base])


async def test_a_query_that_fails_says_so_in_its_own_words(project: Project) -> None:
    base = await project.result("base", "SELECT 'x' AS t")
    with pytest.raises(QueryFailed, match="Could not convert string 'x'"):
        await project.rows("SELECT t::INTEGER AS n FROM base", [base])


async def test_many_threads_read_many_files_at_once(s3: S3Server, tmp_path: Path) -> None:
    store = ObjectSnapshotStore(open_objects(f"s3://{BUCKET}/{uuid4()}", s3.options), tmp_path, tmp_path / "tmp")
    lister = SourceFileLister([], [])
    limits = LIMITS.model_copy(update={"threads": 4})
    engine = DuckDBEngine(
        lister, limits=limits, worker_memory_mb=4 * limits.memory_mb, temp_dir=tmp_path / "tmp", remote_files=store
    )
    project = Project(store._objects, engine, store)
    try:
        parts = [
            await project.result(f"p{n}", f"SELECT i, hash(i + {n}) AS h FROM range(300000) t(i)") for n in range(3)
        ]
        union = " UNION ALL ".join(f"SELECT i, h FROM p{n}" for n in range(3))
        found = await project.rows(
            f"SELECT count(*) AS n, sum(i)::BIGINT AS s FROM ({union}) WHERE h IS NOT NULL", parts
        )
        assert found == [(900_000, 3 * sum(range(300_000)))]
    finally:
        await engine.close()
        await lister.close()


class Recorded:
    """Remote files of one byte's repetition, and what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    async def read(self, url: str, start: int, end: int) -> bytes:
        self.asked.append((url, start, end))
        return b"x" * (end - start)

    def granted(self, url: str, size: int) -> dict[str, RemoteFile]:
        return granted_results({url: size}, self)


def served() -> ObjectLinks:
    """A link, of which the child's end is the test's."""
    links = ObjectLinks(1)
    theirs = links.theirs[0].dup()
    theirs.setblocking(False)
    links.start()
    links.theirs = [theirs]
    return links


async def ask(links: ObjectLinks, question: bytes) -> bytes:
    """Ask as a child would that its query has taken over; returns the answer, or nothing if the link was closed."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(links.theirs[0], question)
    head = await loop.sock_recv(links.theirs[0], LENGTH.size)
    if not head:
        return b""
    (length,) = LENGTH.unpack(head)
    found = b""
    while len(found) < abs(length):
        found += await loop.sock_recv(links.theirs[0], abs(length) - len(found))
    return found if length >= 0 else b"error " + found


async def test_a_process_gets_the_ranges_of_the_files_of_its_query_and_nothing_else() -> None:
    files = Recorded()
    links = served()
    try:
        links.grant(files.granted("object://1/a/1/f", 3 * MOST_BYTES))
        assert await ask(links, b'["object://1/a/1/f", 2, 5]\n') == b"xxx"
        bad = [
            ["object://1/b/1/f", 0, 1],
            ["object://1/a/1/f", 0, MOST_BYTES + 1],
            ["object://1/a/1/f", 3 * MOST_BYTES, 3 * MOST_BYTES + 1],
            ["object://1/a/1/f", -1, 1],
            ["object://1/a/1/f", 1, 1],
            ["object://1/a/1/f", 0, "1"],
            ["object://1/a/1/f"],
            [["object://1/a/1/f"], 0, 1],
            {"url": 1},
            None,
        ]
        for question in bad:
            assert (await ask(links, json.dumps(question).encode() + b"\n")).startswith(b"error "), question
        assert (await ask(links, b"\xff{]\n")).startswith(b"error ")
        links.grant({})
        assert (await ask(links, b'["object://1/a/1/f", 2, 5]\n')).startswith(b"error ")
        assert files.asked == [("object://1/a/1/f", 2, 5)]
        assert await ask(links, b"x" * 5000) == b"", "a question without an end closes the link"
    finally:
        await links.close()


async def test_bytes_that_are_missing_in_an_answer_are_an_error() -> None:
    class Short(Recorded):
        async def read(self, url: str, start: int, end: int) -> bytes:
            return (await super().read(url, start, end))[:-1]

    links = served()
    links.grant(Short().granted("object://f", 10))
    try:
        assert b"shorter" in await ask(links, b'["object://f", 0, 5]\n')
    finally:
        await links.close()


def test_names_of_files_are_as_the_store_gives_them(tmp_path: Path, s3: S3Server) -> None:
    store = ObjectSnapshotStore(open_objects(f"s3://{BUCKET}/x", s3.options), tmp_path, tmp_path / "tmp")
    file = SnapshotFile(name="quarantine/0.parquet", rows=1, bytes=1)
    assert store.file_url("1/v/2", file.name) == "object://1/v/2/quarantine/0.parquet"


async def test_two_threads_that_read_an_object_for_the_first_time_get_one_state_of_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = await project.result("base", "SELECT i FROM range(10) t(i)")
    url = project.store.file_url(base.location, base.files[0].name)
    key = project.store.relative_path(base.location, base.files[0].name)
    get, both = obstore.get_async, asyncio.Barrier(2)

    async def first(*arguments: Any, **options: Any) -> Any:
        """The one gets the object as it was, and the other what has replaced it."""
        found = await get(*arguments, **options)
        if await both.wait() == 0:
            return found
        await obstore.put_async(project.objects, key, b"x" * base.files[0].bytes)
        return await get(*arguments, **options)

    monkeypatch.setattr("orchestrator.stores.objects.obstore.get_async", first)
    answers = await asyncio.gather(*(project.store.read(url, 0, 4) for _ in range(2)), return_exceptions=True)
    assert {type(one) for one in answers} == {bytes, StoreUnavailable}


async def test_the_end_of_a_file_is_fetched_once_and_a_small_file_as_a_whole() -> None:
    files = Recorded()
    links = served()
    size = 1 << 20
    try:
        links.grant(files.granted("object://large", size) | files.granted("object://small", 1000))
        for start, end in ((size - 8, size), (size - 5000, size - 8), (0, 4), (size - 8, size)):
            assert await ask(links, json.dumps(["object://large", start, end]).encode() + b"\n") == b"x" * (end - start)
        for start, end in ((992, 1000), (0, 4), (4, 990)):
            assert await ask(links, json.dumps(["object://small", start, end]).encode() + b"\n") == b"x" * (end - start)
        assert files.asked == [
            ("object://large", size - (256 << 10), size),
            ("object://large", 0, 4),
            ("object://small", 0, 1000),
        ]
    finally:
        await links.close()
