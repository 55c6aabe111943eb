"""The parent believes a child process, which an author's query may have taken over, only as far as it can verify."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.engines.duckdb.child_process import ChildProcess, ProcessLimits
from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.protocol import parse_progress, parse_result, parse_written, store_digests
from orchestrator.model.errors import EngineCrashed

COLUMNS = [["a", "BIGINT", "BIGINT"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "data_0.parquet").write_bytes(b"x" * 10)
    (tmp_path / "foreign.parquet").write_bytes(b"x" * 10)
    return tmp_path / "target"


def answer_of(*files: list[Any]) -> dict[str, Any]:
    compared: dict[str, Any] = {"deterministic": True, "content": None, "previous_content": None, "checks": []}
    of_query = {"columns": COLUMNS, "engine_version": "duckdb", "sources": {}, "rejected": []}
    return {"files": list(files), **of_query, **compared}


def test_the_files_that_lie_there_are_believed(folder: Path) -> None:
    assert parse_written(answer_of(["data_0.parquet", 1, 10]), folder).rows == 1


@pytest.mark.parametrize(
    "files",
    [
        [],
        [["data_0.parquet", 1, 11]],
        [["../foreign.parquet", 1, 10]],
        [["data_0.parquet", 1, 10], ["../foreign.parquet", 1, 10]],
        [["/etc/passwd", 1, 10]],
        [["data_0.parquet", "many", 10]],
        ["data_0.parquet"],
    ],
)
def test_other_files_are_not(folder: Path, files: list[Any]) -> None:
    with pytest.raises(EngineCrashed):
        parse_written(answer_of(*files), folder)


def test_a_link_is_no_file_of_a_result(folder: Path) -> None:
    (folder / "data_0.parquet").unlink()
    (folder / "data_0.parquet").symlink_to("../foreign.parquet")
    with pytest.raises(EngineCrashed):
        parse_written(answer_of(["data_0.parquet", 1, 10]), folder)


@pytest.mark.parametrize(
    "sources", [None, {"t": []}, {"t": ["many", 1, "d", [], {}]}, {"t": [1, 1, "d", [["path"]], {}]}, {"t": [1] * 5}]
)
def test_nonsense_about_the_sources_is_a_crash(folder: Path, sources: object) -> None:
    with pytest.raises(EngineCrashed):
        parse_written(answer_of(["data_0.parquet", 1, 10]) | {"sources": sources}, folder)
    with pytest.raises(EngineCrashed):
        store_digests(DigestCache(), [{"kind": "source", "name": "u", "id": str(uuid4())}], {"sources": sources})


@pytest.mark.parametrize("answer", [{}, {"error": "nonsense"}, {"error": []}, {"error": "query_failed"}])
def test_an_answer_that_is_none_is_a_crash(answer: dict[str, Any]) -> None:
    with pytest.raises(EngineCrashed):
        parse_result(answer, 0)
    with pytest.raises(EngineCrashed):
        parse_progress({"percent": "half"}, 1, 0, None)


@pytest.fixture
async def child() -> AsyncIterator[ChildProcess]:
    child = ChildProcess(ProcessLimits(1 << 30, 1 << 20))
    yield child
    await child.end()


@pytest.mark.parametrize("said", [b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"x" * 40_000_000])
async def test_whatever_is_no_message_is_taken_for_the_end(child: ChildProcess, said: bytes) -> None:
    child._theirs.setblocking(False)
    saying = asyncio.create_task(asyncio.get_running_loop().sock_sendall(child._theirs, said))
    assert await asyncio.wait_for(child.receive(), 30) is None
    saying.cancel()
    await asyncio.gather(saying, return_exceptions=True)


async def test_messages_come_one_by_one_however_they_are_cut(child: ChildProcess) -> None:
    child._theirs.sendall(json.dumps({"percent": 1}).encode() + b'\n{"perc')
    assert await child.receive() == {"percent": 1}
    child._theirs.sendall(b'ent": 2}\n{"ok": null}\n')
    assert await child.receive() == {"percent": 2}
    assert await child.receive() == {"ok": None}
