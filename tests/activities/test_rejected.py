"""Rows that an engine left out, as the snapshot of the run records them."""

from uuid import UUID, uuid4

from orchestrator.activities.write import _snapshot
from orchestrator.engines.base import LeftOutRows, QueryResult
from orchestrator.model.run import RunPlan, SourceRelation, Trigger
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.model.source_table import SourceFormat


def source(name: str) -> SourceRelation:
    return SourceRelation(name=name, id=uuid4(), format=SourceFormat.CSV, url_pattern="/a", columns=())


def plan_of(*names: str) -> RunPlan:
    return RunPlan(
        run_id=uuid4(),
        generation_id=uuid4(),
        trigger=Trigger.API,
        project_id=1,
        saved_query_id=uuid4(),
        revision_id=UUID(int=7),
        name="v",
        sql="SELECT 1",
        relations=tuple(source(name) for name in names),
        timeout_seconds=1,
    )


def test_each_input_says_how_many_of_its_rows_were_left_out_and_which_file_holds_them() -> None:
    result = SnapshotFile(name="data_0.parquet", rows=5, bytes=100)
    kept = SnapshotFile(name="quarantine/0.parquet", rows=2, bytes=10)
    written = QueryResult(
        files=(result,),
        rows=5,
        bytes=100,
        columns=(),
        engine_version="",
        rejected=(LeftOutRows(table="b", rows=2, file=kept), LeftOutRows(table="c", rows=3)),
    )
    measured = tuple(file.model_copy(update={"digest": "xxh128:0"}) for file in (*written.files, *written.beside))
    snapshot = _snapshot(plan_of("a", "b", "c"), 1, "1/v/r-1", written, measured)
    assert [(pin.name, pin.skipped_rows, pin.quarantine) for pin in snapshot.inputs] == [
        ("a", 0, None),
        ("b", 2, "quarantine/0.parquet"),
        ("c", 3, None),
    ]
    assert (snapshot.files, snapshot.quarantine) == (measured[:1], measured[1:])
    assert (snapshot.rows, snapshot.bytes) == (5, 100)
