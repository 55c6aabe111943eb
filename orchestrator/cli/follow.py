"""Follows a run until it ends: finds its id, and shows its progress and its result."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from orchestrator.cli.api_client import Api, Json, data
from orchestrator.cli.output import Failure, echo, out
from orchestrator.cli.patience import PATIENCE_SECONDS, POLL_SECONDS, patiently
from orchestrator.model.plurals import number_of
from orchestrator.model.printable import one_line
from orchestrator.model.run import RunStatus, Trigger

_RUNS_LOOKED_AT = 20
_SECONDS_BETWEEN_LINES = 5


def pick_started_run(before: Sequence[Json], after: Sequence[Json]) -> str | None:
    """The id of the run that an API call started or joined; None if it is not recorded yet.

    `before` and `after` list the view's runs before and after the call. A run that the call started is new, with the
    trigger `api` or `first`. One that it joined was running before, or the schedule started it in between.
    """
    known = {run["id"] for run in before}
    new = [run for run in reversed(after) if run["id"] not in known]
    asked_for = [run for run in new if run["trigger"] in {Trigger.API, Trigger.FIRST}]
    running = [run for run in before if run["status"] == RunStatus.RUNNING]
    return next((str(run["id"]) for run in (*asked_for, *running, *new)), None)


def recent_runs(api: Api, view: Json) -> list[Json]:
    """The last runs of a view, newest first."""
    path = f"warehouse_saved_queries/{view['id']}/run_history/"
    runs: list[Json] = data(api.get(path, limit=_RUNS_LOOKED_AT))["run_history"]
    return runs


def wait_for_started_run(api: Api, view: Json, before: Sequence[Json], *, expected: bool) -> str | None:
    """The id of the run that an API call made after listing `before` started or joined; None if there is none.

    If a run is `expected`, waits for it: one that the schedule started a moment ago may not be recorded yet. Raises
    Failure if none is recorded in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (run_id := pick_started_run(before, _patient_runs(api, view))) is None and expected:
        if time.monotonic() > deadline:
            raise Failure(f"{view['name']}: the run does not show in the view's history; does a worker run?")
        time.sleep(POLL_SECONDS)
    return run_id


def follow_run(api: Api, view: Json, run_id: str) -> Json:
    """Wait until a run has ended, show its progress until then, and return it."""
    with _progress_display(view["name"], quiet=api.as_json) as show:
        while True:
            run = next((run for run in _patient_runs(api, view) if run["id"] == run_id), None)
            if run is None:
                raise Failure(f"{view['name']}: run {run_id} is no longer among the last {_RUNS_LOOKED_AT}")
            if run["status"] != RunStatus.RUNNING:
                return run
            if run["progress"] is not None:  # None before the query starts and after it has ended
                show(run["progress"])
            time.sleep(POLL_SECONDS)


def result_line(run: Json) -> str:
    """The rows, size and duration of a completed run, as text."""
    return f"{number_of(run['rows'], 'row')}, {decimal(run['bytes'])}, {seconds(run)} seconds"


def seconds(run: Json) -> str:
    """How long a run took; empty while it runs."""
    return "" if run["duration_seconds"] is None else f"{run['duration_seconds']:.1f}"


def progress_text(progress: Json) -> str:
    """The progress of a run, as text."""
    percent = "running" if progress["percent"] is None else f"{progress['percent']:.0f} %"
    return f"{percent}, {progress['elapsed_seconds']:.0f} s"


def _patient_runs(api: Api, view: Json) -> list[Json]:
    return patiently(lambda: recent_runs(api, view))


@contextmanager
def _progress_display(name: str, *, quiet: bool) -> Iterator[Callable[[Json], None]]:
    """Yield a function that shows progress: as a bar on a terminal, elsewhere as a line every few seconds."""
    if quiet:
        yield lambda _: None
    elif out.is_terminal:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[text]}"))
        with Progress(*columns, console=out, transient=True) as bar:
            task = bar.add_task(one_line(name), total=None, text="starting")
            yield lambda progress: _draw(bar, task, progress)
    else:
        yield _lines(name)


def _draw(bar: Progress, task: TaskID, progress: Json) -> None:
    percent = progress["percent"]
    # Without a total, Rich draws a bar that only shows activity.
    bar.update(
        task,
        total=None if percent is None else 100,
        completed=percent or 0,
        text=progress_text(progress),
    )


def _lines(name: str) -> Callable[[Json], None]:
    due = time.monotonic()

    def show(progress: Json) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _SECONDS_BETWEEN_LINES
            echo(f"{name}: {progress_text(progress)}")

    return show
