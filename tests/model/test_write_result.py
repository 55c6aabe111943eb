"""The result of a query's activity, which a worker of an older release may be the one to read."""

from uuid import uuid4

from orchestrator.model.base import now
from orchestrator.model.run import SkipRequest, WriteResult
from orchestrator.model.snapshot import Snapshot


def a_snapshot() -> Snapshot:
    return Snapshot(
        id=uuid4(),
        run_id=uuid4(),
        saved_query_id=uuid4(),
        revision_id=uuid4(),
        attempt=1,
        location="1/a/b-1",
        files=(),
        rows=0,
        bytes=0,
        columns=(),
        inputs=(),
        engine_version="duckdb",
        created_at=now(),
    )


def test_as_json_it_is_the_snapshot_itself_so_that_an_older_release_reads_it() -> None:
    written = WriteResult(snapshot=a_snapshot())
    text = written.model_dump_json()
    assert Snapshot.model_validate_json(text) == written.snapshot
    assert WriteResult.model_validate_json(text) == written


def test_a_skip_comes_through_json_too() -> None:
    skipped = WriteResult(skip=SkipRequest(run_id=uuid4(), snapshot_id=uuid4(), reason="the same"))
    assert WriteResult.model_validate_json(skipped.model_dump_json()) == skipped
