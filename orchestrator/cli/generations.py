"""`matview refresh` and `matview generation`: refreshes of several views as one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, Refused, data, echo_columns, moment, with_api
from orchestrator.cli.generation_display import display, ended_line, summary
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json, warn
from orchestrator.cli.patience import every_moment
from orchestrator.cli.program import advice
from orchestrator.cli.status import note_failing_inputs
from orchestrator.model.generation import Direction, GenerationStatus, PublishMode

app = typer.Typer(help="Refreshes of several views as one.", no_args_is_help=True)

PATH = "generations/"
_CANCELLED = 3
_INTERRUPTED = 130
_GOOD = {GenerationStatus.COMPLETED, GenerationStatus.SKIPPED}

Generation = Annotated[str, typer.Argument(metavar="ID", help="Its id.", show_default=False)]


def add_to(main: typer.Typer) -> None:
    """Add the commands."""
    main.command("refresh")(refresh)
    main.add_typer(app, name="generation")


@with_api
def refresh(
    api: Api,
    views: Annotated[
        list[str] | None, typer.Argument(metavar="[VIEW]...", help="Their names or ids.", show_default=False)
    ] = None,
    *,
    upstream: Annotated[bool, typer.Option("--upstream", help="With all that they read.")] = False,
    downstream: Annotated[bool, typer.Option("--downstream", help="With all that reads them.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All materialized views of the project.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run queries also if nothing has changed.")] = False,
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Publish nothing if the query of one view fails.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow it until it ends.")] = False,
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Cancel it when this command is interrupted.")
    ] = False,
) -> None:
    """Refresh several views as one: each after those that it reads, published together."""
    if everything is bool(views):
        raise Failure("name the views to refresh, or say --all", EXIT_USAGE)
    select: Json = {"all": True} if everything else {"views": views, "direction": _direction(upstream, downstream)}
    mode = PublishMode.ALL_OR_NOTHING if all_or_nothing else PublishMode.WHAT_SUCCEEDED
    response = api.post(PATH, {"select": select, "force": force, "publish": mode})
    started = data(response)
    if no_wait:
        if api.as_json:
            echo_json(response.text)
        else:
            echo(f"generation {started['id']} was started")
        return
    follow_to_end(api, started["id"], cancel_on_interrupt=cancel_on_interrupt)


def follow_to_end(api: Api, generation_id: str, *, cancel_on_interrupt: bool = False) -> None:
    """Show how the views of a generation stand until it ends. Raises Failure unless all of it is well."""
    try:
        ended = _follow(api, generation_id)
    except KeyboardInterrupt:
        _interrupted(api, generation_id, cancel=cancel_on_interrupt)
        raise typer.Exit(_INTERRUPTED) from None
    note_failing_inputs(api, ended["views"], {view["id"] for view in ended["views"]})
    _end(ended, quiet=api.as_json)


@app.command("list")
@with_api
def list_generations(
    api: Api,
    view: Annotated[str | None, typer.Option(help="Only those that refreshed this view: its name or id.")] = None,
    status: Annotated[GenerationStatus | None, typer.Option(help="Only those of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
) -> None:
    """List refreshes, newest first."""
    params: dict[str, str | int] = {"page_size": limit}
    params |= {name: value for name, value in (("view", view), ("status", status)) if value is not None}
    response = api.get(PATH, **params)
    if api.as_json:
        echo_json(response.text)
        return
    echo_columns(
        ("STARTED", "STATUS", "TRIGGER", "VIEWS", "RUNS", "ID"),
        [
            (
                *(moment(one["started_at"] or one["created_at"]), one["status"], one["trigger"]),
                *(one["view_count"], summary(one), one["id"]),
            )
            for one in data(response)["results"]
        ],
    )


@app.command("show")
@with_api
def show_generation(api: Api, generation: Generation) -> None:
    """Show a refresh with its views."""
    with _of(generation):
        response = api.get(f"{PATH}{generation}/")
    if api.as_json:
        echo_json(response.text)
        return
    found = data(response)
    echo(f"{found['status']}: {summary(found) or 'waits for other runs of its views'}")
    for member in found["views"]:
        echo(ended_line(member))


@app.command("cancel")
@with_api
def cancel_generation(api: Api, generation: Generation) -> None:
    """Stop a refresh; nothing more of it is published."""
    with _of(generation):
        response = api.post(f"{PATH}{generation}/cancel/")
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"generation {generation} is {data(response)['status'].lower()}")


@contextmanager
def _of(generation: str) -> Iterator[None]:
    """Requests about a generation. Raises Failure that names it if there is none of that id."""
    try:
        yield
    except Refused as refused:
        if not refused.is_bare:
            raise
        raise Failure(f"there is no generation {generation!r}; all: {advice('generation', 'list')}") from None


def _direction(upstream: bool, downstream: bool) -> Direction:
    if upstream and downstream:
        return Direction.BOTH
    return Direction.UPSTREAM if upstream else Direction.DOWNSTREAM if downstream else Direction.NONE


def _follow(api: Api, generation_id: str) -> Json:
    """Wait until a generation has ended, show how its views stand until then, and return it."""
    with display(quiet=api.as_json) as show:
        for response in every_moment(lambda: api.get(f"{PATH}{generation_id}/")):
            found = data(response)
            show(found)
            if found["status"] != GenerationStatus.RUNNING:
                break
    if api.as_json:
        echo_json(response.text)
    return found


def _interrupted(api: Api, generation_id: str, *, cancel: bool) -> None:
    if cancel:
        api.post(f"{PATH}{generation_id}/cancel/")
        warn(f"\ngeneration {generation_id} is cancelled")
    else:
        warn(f"\nno longer waiting; it goes on. To stop it: {advice('generation', 'cancel', generation_id)}")


def _end(generation: Json, *, quiet: bool) -> None:
    """Print how a generation ended. Raises Failure unless all of it is well."""
    line = f"{generation['status']}: {summary(generation)}"
    if generation["status"] in _GOOD:
        if not quiet:
            echo(line)
        return
    raise Failure(line, _CANCELLED if generation["status"] == GenerationStatus.CANCELLED else 1)
