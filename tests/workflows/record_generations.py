"""The histories of generations of several views: one of every way in which such a generation can go."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from orchestrator.temporal import contract
from tests.acceptance.test_failures import LONG
from tests.support.tenants import ENDLESS, Json, until, write_parquet
from tests.workflows.recorder import Recorder

PATH = "/generations/"


class GenerationRecorder(Recorder):
    """Refreshes several views at a time, and saves the histories."""

    async def record(self, sources: Path, kill_worker: Callable[[], None]) -> None:
        """Record the histories of all generations without a webhook. `sources` is a folder for source files."""
        await self._completed()
        await self._failed()
        await self._cancelled()
        await self._shared()
        await self._gathered()
        await self._with_readers()
        await self._held()
        await self._scheduled()
        await self._moved(sources / "moving.parquet", kill_worker)

    async def record_notices(self) -> None:
        """Record the history of a generation that sends a webhook event."""
        views = await self._views(works="SELECT 1 AS n", fails="SELECT error('always ' || n) AS n FROM works")
        await self._refreshed("generation-notified", views)

    async def _completed(self) -> None:
        views = await self._views(
            top="SELECT now() AS n",
            one="SELECT n FROM top",
            other="SELECT n FROM top",
            bottom="SELECT one.n FROM one, other",
            fixed="SELECT 1 AS n",
            mixed="SELECT top.n FROM top, fixed",
        )
        await self._refreshed("generation-completed", views)
        # `fixed` is found unchanged at the beginning, and its component goes on.
        await self._refreshed("generation-completed-in-part", views)
        views = await self._views(same="SELECT 1 AS n", same_too="SELECT n FROM same")
        for name in ("generation-completed-of-two", "generation-skipped"):
            await self._refreshed(name, views)

    async def _failed(self) -> None:
        views = await self._views(bad="SELECT error('always') AS n", below="SELECT n FROM bad", beside="SELECT 1 AS n")
        await self._refreshed("generation-partial", views)
        await self._refreshed("generation-failed", views, publish="all_or_nothing")

    async def _cancelled(self) -> None:
        views = await self._views(
            quick="SELECT 1 AS n", slow=ENDLESS, lower="SELECT slow.n FROM slow, quick", free="SELECT n FROM quick"
        )
        generation = await self._start(views)
        await self.tenant.running(views["slow"])
        await self.tenant.call("POST", f"{PATH}{generation['id']}/cancel/")
        await self._save("generation-cancelled", generation)
        generation = await self._start(views)
        await self.tenant.running(views["slow"])
        for name in ("lower", "slow"):
            await self.tenant.act(views[name], "cancel")
        await self._save("generation-members-cancelled", generation)

    async def _shared(self) -> None:
        """Record generations whose members share activities, which go on for longer than most of their members."""
        views = await self._views(
            **{f"brief_{number}": f"SELECT {number} AS n" for number in range(6)},
            wrong="SELECT error('always') AS n",
            lengthy="SELECT sum(sqrt(i)) AS n FROM range(400000000) t(i)",
            of_brief="SELECT brief_0.n FROM brief_0, brief_1",
            of_lengthy="SELECT lengthy.n FROM lengthy, brief_2",
        )
        await self._refreshed("generation-shared", views)
        shared = {f"shared_{number}": f"SELECT {number} AS n" for number in range(7)}
        views = await self._views(**shared, endless=ENDLESS)
        generation = await self._start(views)
        await self.tenant.running(views["endless"])
        await self.tenant.act(views["endless"], "cancel")
        await self._save("generation-shared-cancelled", generation)

    async def _gathered(self) -> None:
        """Record a generation that publishes several components together while the query of another one runs."""
        views = await self._views(
            **{f"alone_{number}": f"SELECT {number} AS n" for number in range(3)},
            lasting="SELECT sum(sqrt(i)) AS n FROM range(800000000) t(i)",
        )
        await self._refreshed("generation-gathered", views)

    async def _with_readers(self) -> None:
        """Record a generation whose members share activities with those that read them, of which one fails."""
        readers = {f"reads_{number}": "SELECT n FROM uppermost" for number in range(4)}
        views = await self._views(
            uppermost="SELECT now() AS n",
            **readers,
            collapses="SELECT error('always') AS n FROM reads_1",
            never="SELECT n FROM collapses",
            lowest="SELECT reads_2.n FROM reads_2, reads_3",
        )
        await self._refreshed("generation-with-readers", views)

    async def _held(self) -> None:
        """Record a generation that waits for a run of one of its views, then a tick and a run that find it there."""
        views = await self._views(busy=ENDLESS, idle="SELECT 1 AS n")
        await self.tenant.act(views["busy"], "run")
        run = await self.tenant.running(views["busy"])
        generation = await self._start(views)

        async def waits() -> bool:
            history = await self.client.get_workflow_handle(generation["workflow_id"]).fetch_history()
            return any(event.HasField("timer_started_event_attributes") for event in history.events)

        await until(waits, "a generation that waits")
        await self.tenant.act(views["busy"], "cancel")
        await self.tenant.closed(run)
        await self.tenant.running(views["busy"])
        await self.tick("tick-held", views["busy"], runs=None)
        await self.save("run-held", contract.run_workflow_id(UUID(views["busy"])))
        await self.tenant.call("POST", f"{PATH}{generation['id']}/cancel/")
        await self._save("generation-waited", generation)

    async def _scheduled(self) -> None:
        """Record ticks that gather into a generation: one that fails, one that ends well, and one that is cancelled."""
        views = await self._views(works="SELECT 1 AS n", breaks="SELECT error('always') AS n", takes_long=ENDLESS)
        for view_id in views.values():
            await self.client.get_schedule_handle(contract.schedule_id(UUID(view_id))).trigger()
        run = await self.tenant.running(views["takes_long"])
        ticks = {name: await self.newest_tick(view_id) for name, view_id in views.items()}
        await self.client.get_workflow_handle(ticks["takes_long"]).cancel()
        await self.save("generation-scheduled", run["workflow_id"])
        await self.save("tick-followed", ticks["works"])
        await self.save("tick-followed-failed", ticks["breaks"])
        await self.save("tick-followed-cancelled", ticks["takes_long"])

    async def _moved(self, path: Path, kill_worker: Callable[[], None]) -> None:
        """Record a generation in which a source file is replaced between two reads of it, and one with a lost query."""
        await self.tenant.add_table("moving", write_parquet(path, a=[1]))
        views = await self._views(
            first="SELECT a FROM moving", long=LONG, last="SELECT moving.a, long.k FROM moving, long"
        )
        generation = await self._start(views)

        async def is_read() -> bool:
            shown = await self.tenant.call("GET", f"{PATH}{generation['id']}/")
            return any((one["name"], one["phase"]) == ("first", "written") for one in shown["views"])

        await until(is_read, "the first read of the source file")
        write_parquet(path.with_suffix(".new"), a=[1, 2]).replace(path)
        await self._save("generation-source-moved", generation)
        generation = await self._start(views, force=True)
        await self.tenant.running(views["long"])
        kill_worker()
        await self._save("generation-retried", generation)

    async def _views(self, **views: str) -> dict[str, str]:
        """The ids of new views that are materialized and have not run, by name."""
        ids = {name: (await self.tenant.create_view(name, sql))["id"] for name, sql in views.items()}
        for view_id in ids.values():
            await self.tenant.act(view_id, "materialize", {"run": False})
        return ids

    async def _refreshed(self, name: str, views: dict[str, str], **more: object) -> None:
        await self._save(name, await self._start(views, **more))

    async def _start(self, views: dict[str, str], **more: object) -> Json:
        return await self.tenant.call("POST", PATH, {"select": {"views": list(views)}, **more}, expect=202)

    async def _save(self, name: str, generation: Json) -> None:
        await self.save(name, generation["workflow_id"])
