"""Measures what a confined process costs a small query: the engine alone, without Temporal and the catalog."""

from functools import partial
from pathlib import Path
from uuid import uuid4

from benchmarks.baseline import plain
from benchmarks.common import Measurement, timed
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunPlan, Trigger
from orchestrator.model.write_target import WriteTarget

_SQL = "SELECT 1 AS one"
_LIMITS = Limits(memory_mb=512, threads=1, temp_disk_mb=512, output_mb=512)


async def measure_isolation(folder: Path, rounds: int) -> list[Measurement]:
    """Measure the same SELECT in a process started for it, in one that is kept, and on a new connection in this one."""
    lister = SourceFileLister([], [])
    engine = DuckDBEngine(lister, limits=_LIMITS, worker_memory_mb=1024, temp_dir=folder / "scratch")
    await engine.start()
    new, kept, floor = [], [], []
    shared = (folder / "sealed", folder / "staged")
    for one in shared:
        one.mkdir()
    try:
        for number in range(rounds + 1):
            new.append(await timed(partial(_write, engine, WriteTarget.local(_made(folder / f"one-{number}")))))
            again = WriteTarget.local(_made(shared[1] / str(number)), shared)
            kept.append(await timed(partial(_write, engine, again)))
            floor.append(await timed(partial(_plain, folder / f"plain-{number}")))
    finally:
        await engine.close()
        await lister.close()
    return [
        Measurement(f"{_SQL}, in a new process", new[1:]),
        Measurement(f"{_SQL}, in a process that is kept", kept[1:]),
        Measurement(f"{_SQL}, plain DuckDB", floor[1:]),
    ]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _write(engine: DuckDBEngine, target: WriteTarget) -> None:
    plan = RunPlan(
        run_id=uuid4(),
        generation_id=uuid4(),
        trigger=Trigger.API,
        project_id=1,
        saved_query_id=uuid4(),
        revision_id=uuid4(),
        name="one",
        sql=_SQL,
        relations=(),
        timeout_seconds=60,
        limits=None,
    )
    await engine.write(plan, lambda location, name: f"{location}/{name}", target, lambda _: None)


async def _plain(folder: Path) -> None:
    plain(_SQL, folder)
