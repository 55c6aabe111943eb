"""One run of the harness, from the first process to the last check."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from chaos import nemesis
from chaos.catalog import Catalog
from chaos.checks import leaks
from chaos.checks.monitor import Monitor
from chaos.checks.quiesce import conclude, settle
from chaos.client import Api
from chaos.disk import Disk
from chaos.generations import look_for_mixes
from chaos.harness import ENVIRONMENT, Harness
from chaos.history import History, population
from chaos.other_installation import OtherInstallation
from chaos.publish_listener import PublishListener
from chaos.readers import read_on
from chaos.report import say
from chaos.results import ResultsInBucket, ResultsOnDisk
from chaos.source_contents import change_between_reads, compare_contents
from chaos.source_files import SourceFiles
from chaos.workload import act
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.home import DevInfo, StackError
from orchestrator.devstack.roles import ROLES, Role
from orchestrator.devstack.stack import DevStack

if TYPE_CHECKING:
    from chaos.bucket import Bucket

_DISK_MB, _DISK_MB_BULK = 800, 3_000
_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Options:
    """The options of a run. `pace` is the average time between two kills of a part of the stack, in seconds."""

    seed: int
    minutes: float
    home: Path
    workers: int = 2
    people: int = 4
    readers: int = 3
    pace: float = 6.0
    bulk: bool = True
    small_disk: bool = True
    in_bucket: bool = False
    known_violations: tuple[str, ...] = ()


async def run_harness(options: Options) -> History:
    """Run the harness from start to end; returns its history. The folder is left as it is."""
    history = History(options.seed, population(bulk=options.bulk), options.known_violations)
    os.environ.update(ENVIRONMENT)
    if not options.in_bucket:
        return await _run(options, history, None)
    from chaos.bucket import a_bucket  # noqa: PLC0415 - its server is a part of the tests, which a copy may lack

    async with a_bucket(history.random("network")) as bucket:
        return await _run(options, history, bucket)


async def _run(options: Options, history: History, bucket: "Bucket | None") -> History:
    disk = Disk(options.home / "data", _DISK_MB_BULK if options.bulk else _DISK_MB)
    if options.small_disk:
        disk.mount()
    say("The store lies on a small disk." if disk.is_small else "No small disk can be had: it will not be filled.")
    names = [f"worker-{number + 1}" for number in range(options.workers)]
    # Not in the folder of the stack, which no source table may read.
    source = SourceFiles(Path(tempfile.mkdtemp(prefix="mv-chaos-source-")))
    stack = DevStack(
        options.home,
        bootstrap=bootstrap,
        say=lambda text: history.note(None, text),
        roles=_roles(names),
        extra_source_roots=[source.folder],
    )
    ready: asyncio.Future[DevInfo] = asyncio.get_running_loop().create_future()
    living = asyncio.create_task(stack.run_until_stopped(ready.set_result))
    working = asyncio.create_task(
        _work(
            options=options,
            history=history,
            stack=stack,
            disk=disk,
            source=source,
            ready=ready,
            workers=tuple(names),
            bucket=bucket,
        )
    )
    try:
        await asyncio.wait({living, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            history.record_violation("stack", "it ended by itself, or by a signal")
            working.cancel()
        with suppress(asyncio.CancelledError):
            await working
    except Exception:  # the history until then has to be reported as well
        history.record_violation("harness", traceback.format_exc())
    finally:
        living.cancel()
        with suppress(asyncio.CancelledError, StackError):
            await living
        left = await asyncio.to_thread(leaks.check_stopped, options.home / "data")
        if left:
            history.record_violation("leak", f"the stack was stopped, and processes {left} live on")
        await asyncio.to_thread(_list_store, options.home)
        disk.unmount()
        shutil.rmtree(source.folder, ignore_errors=True)
    return history


def _roles(workers: list[str]) -> list[Role]:
    api = next(role for role in ROLES if role.name == "api")
    worker = next(role for role in ROLES if role.name == "worker")
    return [api, *(Role(name, worker.argv) for name in workers)]


async def _work(
    *,
    options: Options,
    history: History,
    stack: DevStack,
    disk: Disk,
    source: SourceFiles,
    ready: asyncio.Future[DevInfo],
    workers: tuple[str, ...],
    bucket: "Bucket | None",
) -> None:
    info = await ready
    data = Path(info["data_dir"])
    temporal = await Client.connect(info["temporal_address"], data_converter=pydantic_data_converter)
    chaos = Harness(
        history=history,
        stack=stack,
        workers=workers,
        api=Api(history, info["api_url"], info["project_id"], info["api_key"]),
        catalog=Catalog(info["database_url"]),
        temporal=temporal,
        disk=disk,
        other_installation=OtherInstallation(),
        source=source,
        results=ResultsOnDisk(data) if bucket is None else ResultsInBucket(bucket.objects, data),
    )
    history.began = time.monotonic()
    await chaos.other_installation.plant(temporal, chaos.results, chaos.project_id)
    await source.register(chaos.api)
    say(f"The stack is ready; {options.minutes:g} minutes of trouble begin, with seed {options.seed}.")
    onlookers = [read_on(chaos, number) for number in range(options.readers)] + [Monitor(chaos).watch()]
    onlookers += [look_for_mixes(chaos), compare_contents(chaos)]
    with PublishListener(chaos, asyncio.get_running_loop().call_soon_threadsafe) as listener:
        await _during(onlookers, _trouble_and_end(options, chaos, listener, bucket))
    await chaos.api.close()
    await chaos.catalog.close()


async def _trouble_and_end(
    options: Options, chaos: Harness, listener: PublishListener, bucket: "Bucket | None"
) -> None:
    troublemakers = [
        *(act(chaos, "person", number) for number in range(options.people)),
        nemesis.kill_parts(chaos, options.pace),
        nemesis.kill_children(chaos, options.pace / 2),
        nemesis.freeze_workers(chaos, options.pace * 6),
        chaos.source.change_on(chaos.history),
        change_between_reads(chaos),
    ]
    if chaos.disk.is_small:
        troublemakers.append(nemesis.fill_the_disk(chaos, options.pace * 6))
    if bucket is not None:
        troublemakers.append(nemesis.disturb_the_network(chaos, bucket.network, options.pace))
    await _during(troublemakers, _report_counts(chaos.history, options.minutes * 60))
    listener.kills = False
    for fault, count in (Counter() if bucket is None else bucket.network.faults).items():
        chaos.history.counts[f"requests to the bucket/{fault}"] = count
    say("The trouble is over; everything has to come to rest now.")
    await settle(chaos)
    await conclude(chaos)


async def _report_counts(history: History, seconds: float) -> None:
    """Wait for so many seconds, and print the figures every 30 seconds."""
    began = history.elapsed
    while (left := seconds - (history.elapsed - began)) > 0:
        await asyncio.sleep(min(left, _EVERY_SECONDS))
        done = sum(count for name, count in history.counts.items() if name.startswith("operations/"))
        read = sum(count for name, count in history.counts.items() if name.endswith(", good"))
        kills = sum(count for name, count in history.counts.items() if name.startswith("kills/"))
        message = f"{done} operations, {kills} kills, {read} reads, {len(history.violations)} violations"
        say(f"{history.elapsed:6.0f} s  {message}")


async def _during(others: list[Coroutine[object, object, None]], work: Coroutine[object, object, None]) -> None:
    """Run `work` while `others`, which must not end, run beside it. Raises the exception of any of them."""
    tasks = [asyncio.create_task(other) for other in others]
    main = asyncio.create_task(work)
    try:
        await asyncio.wait({*tasks, main}, return_when=asyncio.FIRST_COMPLETED)
        for task in (main, *tasks):
            if task.done():
                task.result()
        if not main.done():
            raise RuntimeError("something ended that was to go on")
    finally:
        for task in (main, *tasks):
            task.cancel()
        await asyncio.gather(main, *tasks, return_exceptions=True)


def _list_store(home: Path) -> None:
    """Write a list of the store's files, which are lost when a small disk is unmounted."""
    found = sorted((path for path in (home / "data").rglob("*") if path.is_file()), key=str)
    lines = [f"{path.stat().st_size:12} {path.relative_to(home)}" for path in found]
    (home / "store.txt").write_text("\n".join([sys.version, *lines]) + "\n")
