"""A long random walk of requests about views, compared with a short model after each step.

`MATVIEW_WALK_STEPS` is the number of steps, and `MATVIEW_WALK_SEED` chooses them; the seed of a walk is printed.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from temporalio.client import Client

from orchestrator.devstack.stack import DevStack
from tests.contract.support import VIEWS, number_from_environment, schedule_of, temporal_of
from tests.support.tenants import Json, Tenant

STEPS = number_from_environment("MATVIEW_WALK_STEPS", 30)
SEED = number_from_environment("MATVIEW_WALK_SEED", 20)

MOST_VIEWS = 8
NAMES = [f"view_{letter}" for letter in "abcdefghijkl"]
FREQUENCIES = ["15min", "1hour", "24hour", "30day"]
STATUSES = {None, "Running", "Completed", "Failed", "Cancelled", "Modified"}
RUN_STATUSES = {"Completed", "Failed", "Running", "Cancelled", "Skipped"}


@dataclass
class Known:
    """The model's state of a live view."""

    id: str
    name: str
    sql: str
    reads: str | None
    token: str
    frequency: str | None = None
    runs: set[str] = field(default_factory=set)


class Walk:
    """The model, and the steps that change both it and the product."""

    def __init__(self, tenant: Tenant, temporal: Client, seed: int) -> None:
        self._tenant = tenant
        self._temporal = temporal
        self._random = random.Random(seed)  # noqa: S311 - the same walk every time
        self._views: dict[str, Known] = {}
        self._gone: set[str] = set()
        self._fresh = 0
        self.trace: list[str] = []

    async def step(self) -> None:
        """Do one random step, and assert that everything is as the model says."""
        steps: list[tuple[Callable[[Known], Awaitable[None]], int]] = [
            (self._edit, 3),
            (self._edit_with_an_old_token, 1),
            (self._save_again, 1),
            (self._rename, 3),
            (self._materialize, 4),
            (self._patch_frequency, 4),
            (self._run, 3),
            (self._cancel, 2),
            (self._revert, 2),
            (self._delete, 3),
            (self._resume, 2),
        ]
        if len(self._views) < 2 or (len(self._views) < MOST_VIEWS and self._random.random() < 0.2):
            await self._create()
        else:
            act = self._random.choices([step for step, _ in steps], [weight for _, weight in steps])[0]
            view = self._random.choice(list(self._views.values()))
            self.trace.append(f"{act.__name__} {view.name} ({view.id})")
            await act(view)
        await self._check()

    async def _create(self) -> None:
        name = self._free_name()
        sql, reads = self._some_query()
        self.trace.append(f"create {name}: {sql}")
        view = await self._tenant.create_view(name, sql, sync_frequency="1hour")
        assert view["id"] not in self._views.keys() | self._gone
        self._views[view["id"]] = Known(view["id"], name, sql, reads, view["latest_history_id"])

    async def _edit(self, view: Known) -> None:
        sql, reads = self._some_query()
        self.trace.append(f"  to {sql}")
        body = {"query": {"query": sql}, "edited_history_id": view.token}
        if reads is not None and self._leads_to(reads, view.id):
            refused = await self._refused(view, "PATCH", body)
            assert refused.startswith("Model contains a cycle: ")
            assert view.name in refused
            return
        answer = await self._tenant.call("PATCH", _path(view), body)
        assert (answer["latest_history_id"] != view.token) == (sql != view.sql)
        assert answer["status"] in {"Modified", "Running"}
        view.sql, view.reads, view.token = sql, reads, answer["latest_history_id"]

    async def _edit_with_an_old_token(self, view: Known) -> None:
        body = {"query": {"query": self._new_sql()}, "edited_history_id": view.id, "description": "never"}
        assert await self._refused(view, "PATCH", body) == "The query was modified by someone else."

    async def _save_again(self, view: Known) -> None:
        answer = await self._tenant.create_view(view.name, view.sql, expect=200)
        assert (answer["id"], answer["latest_history_id"]) == (view.id, view.token)

    async def _rename(self, view: Known) -> None:
        readers = self._readers(view)
        taken = self._random.choice([one.name for one in self._views.values()])
        name = taken if self._random.random() < 0.3 else self._free_name()
        self.trace.append(f"  to {name}")
        if name != view.name and (readers or name == taken):
            refused = await self._refused(view, "PATCH", {"name": name})
            assert all(reader in refused for reader in readers)
        else:
            await self._tenant.call("PATCH", _path(view), {"name": name})
            view.name = name

    async def _materialize(self, view: Known) -> None:
        frequency = self._random.choice([None, *FREQUENCIES])
        self.trace.append(f"  {frequency}")
        await self._tenant.act(view.id, "materialize", {"sync_frequency": frequency} if frequency else None)
        view.frequency = frequency or view.frequency or "24hour"

    async def _patch_frequency(self, view: Known) -> None:
        frequency = self._random.choice(["never", "never", *FREQUENCIES, None])
        self.trace.append(f"  {frequency}")
        if frequency is None and view.frequency is not None:
            await self._refused(view, "PATCH", {"sync_frequency": None})
            return
        await self._tenant.call("PATCH", _path(view), {"sync_frequency": frequency})
        if view.frequency is not None or frequency != "never":
            view.frequency = frequency

    async def _run(self, view: Known) -> None:
        if view.frequency is None:
            await self._refused(view, "POST", None, "run/")
        else:
            await self._tenant.act(view.id, "run")

    async def _cancel(self, view: Known) -> None:
        answer = await self._tenant.http.post(f"{_path(view)}cancel/")
        if answer.status_code == 200:
            assert answer.json()["status"] in {"Cancelled", "Modified"}
        else:
            assert answer.status_code == 400, answer.text
            assert answer.json()["detail"] == "Cannot cancel a query that is not running"

    async def _revert(self, view: Known) -> None:
        answer = await self._tenant.act(view.id, "revert_materialization")
        empty = ("sync_frequency", "last_run_at", "latest_error", "current_snapshot_id", "next_run_at")
        assert {answer[name] for name in empty} == {None}
        view.frequency = None

    async def _delete(self, view: Known) -> None:
        softly = self._random.random() < 0.3
        method, body = ("PATCH", {"deleted": True}) if softly else ("DELETE", None)
        if readers := self._readers(view):
            refused = await self._refused(view, method, body)
            assert refused == f"Cannot delete this view because other views depend on it: {', '.join(readers)}."
            return
        await self._tenant.call(method, _path(view), body, expect=200 if softly else 204)
        del self._views[view.id]
        self._gone.add(view.id)

    async def _resume(self, view: Known) -> None:
        asked = [*self._views, *self._gone]
        answer = await self._tenant.call("POST", VIEWS + "resume_schedules/", {"view_ids": asked})
        assert answer == {"resumed": []}, f"none but those set to never are paused ({view.name})"

    async def _refused(self, view: Known, method: str, body: Json | None, action: str = "") -> str:
        refused = await self._tenant.error(method, _path(view) + action, body, status=400)
        return str(refused["detail"])

    async def _check(self) -> None:
        listed = (await self._tenant.call("GET", VIEWS))["results"]
        names = [view["name"].lower() for view in listed]
        assert len(names) == len(set(names))
        assert {view["id"]: view["name"] for view in listed} == {known.id: known.name for known in self._views.values()}
        for shown in listed:
            await self._check_view(shown, self._views[shown["id"]])
        for view_id in self._gone:
            assert await schedule_of(self._temporal, view_id) is None
            await self._tenant.error("GET", f"{VIEWS}{view_id}/", status=404)

    async def _check_view(self, shown: Json, known: Known) -> None:
        assert shown["status"] in STATUSES
        assert (shown["sync_frequency"], shown["is_materialized"]) == (known.frequency, known.frequency is not None)
        if known.frequency is None:
            assert shown["status"] in {None, "Modified"}
        view = await self._tenant.view(known.id)
        assert (view["query"]["query"], view["latest_history_id"]) == (known.sql, known.token)
        schedule = await schedule_of(self._temporal, known.id)
        assert (schedule is not None) == (known.frequency is not None)
        if schedule is not None:
            assert schedule.schedule.state.paused == (known.frequency == "never")
        history = await self._tenant.history(known.id)
        assert {run["status"] for run in history} <= RUN_STATUSES
        assert len(history) == 100 or known.runs <= {run["id"] for run in history}, "history never shrinks"
        known.runs = {run["id"] for run in history}
        counted = await self._tenant.call("GET", f"{_path(known)}dependencies/")
        assert counted == {
            "upstream_count": int(known.reads is not None),
            "downstream_count": len(self._readers(known)),
        }

    def _new_sql(self) -> str:
        self._fresh += 1
        return f"SELECT {self._fresh} AS n"

    def _some_query(self) -> tuple[str, str | None]:
        """A new statement, with the id of the view that it reads, if it reads one."""
        if not self._views or self._random.random() < 0.5:
            return self._new_sql(), None
        read = self._random.choice(list(self._views.values()))
        self._fresh += 1
        return f"SELECT n + {self._fresh} AS n FROM {read.name}", read.id

    def _free_name(self) -> str:
        return self._random.choice(sorted(set(NAMES) - {view.name for view in self._views.values()}))

    def _readers(self, view: Known) -> list[str]:
        return sorted(one.name for one in self._views.values() if one.reads == view.id)

    def _leads_to(self, start: str | None, goal: str) -> bool:
        while start is not None and start != goal:
            start = self._views[start].reads
        return start == goal


def _path(view: Known) -> str:
    return f"{VIEWS}{view.id}/"


@pytest.mark.timeout(120 + 10 * STEPS)
async def test_whatever_is_done_in_whatever_order_the_product_is_as_the_model_says(
    tenant: Tenant, stack: DevStack
) -> None:
    walk = Walk(tenant, await temporal_of(stack), SEED)
    print(f"MATVIEW_WALK_SEED={SEED} MATVIEW_WALK_STEPS={STEPS}")  # noqa: T201 - how to walk this way again
    for number in range(STEPS):
        try:
            await walk.step()
        except AssertionError as error:
            done = "\n".join(walk.trace)
            raise AssertionError(f"step {number} of the walk {SEED}: {error}\n{done}") from error
