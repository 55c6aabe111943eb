"""`matview view versions`, `quarantine`, `sources`, `rollback`, `publish`, `pin` and `unpin`: versions of a view."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

import typer

from orchestrator.cli.api_client import Api, Json, Refused, data, echo_columns, moment, with_api
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json
from orchestrator.cli.program import advice
from orchestrator.cli.views import PATH, View, find

PublishedSnapshot = Annotated[
    str, typer.Argument(help="The id of the version, from `view versions`.", show_default=False)
]


_NO_VERSION = "There is no such version, or it is no longer kept."


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        *(("versions", list_versions), ("quarantine", list_quarantine)),
        *(("rollback", roll_back), ("publish", publish), ("pin", pin), ("unpin", unpin)),
    ):
        app.command(name)(command)
    app.command("sources")(list_sources)


@with_api
def list_versions(api: Api, view: View) -> None:
    """List the versions of a view, newest first."""
    path = f"{PATH}{find(api, view)['id']}/snapshots/"
    if api.as_json:
        echo_json(api.whole_list(path))
        return
    echo_columns(
        ("MADE", "CURRENT", "PINNED", "ROWS", "BYTES", "ID", "RUN", "SKIPPED"),
        [
            (
                *(moment(one["created_at"]), _mark(one["is_current"]), _mark(one["pinned"])),
                *(one["row_count"], one["size_bytes"], one["id"], one["run_id"]),
                sum(pin.get("skipped_rows", 0) for pin in one["inputs"]),
            )
            for one in api.items(path)
        ],
    )


@with_api
def list_quarantine(
    api: Api,
    view: View,
    version: Annotated[
        str | None, typer.Argument(help="The id of the version; the current one if not given.", show_default=False)
    ] = None,
    *,
    table: Annotated[str | None, typer.Option(help="The source table; needed if several have such rows.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over.")] = 0,
) -> None:
    """Show the rows that a version's run left out, since they do not fit the columns of their source table."""
    found = find(api, view)
    chosen = version or data(api.get(f"{PATH}{found['id']}/"))["current_snapshot_id"]
    if chosen is None:
        raise Failure(f"{found['name']} has no version that can be read")
    which = {} if table is None else {"table": table}
    with _of_version(found, chosen):
        response = api.get(f"{PATH}{found['id']}/snapshots/{chosen}/quarantine/", limit=limit, offset=offset, **which)
    if api.as_json:
        echo_json(response.text)
        return
    answer = data(response)
    rows = answer["results"]
    names = ("file", "line", "column", "text", "reason")
    echo_columns([name.upper() for name in names], [[row[name] for name in names] for row in rows])
    if len(rows) < answer["count"]:
        echo(f"{len(rows):,} of {answer['count']:,} rows; --offset and --limit show others, --json the whole rows")


@with_api
def list_sources(
    api: Api,
    view: View,
    version: Annotated[
        str | None, typer.Argument(help="The id of a version; the one that readers see, if none is given.")
    ] = None,
) -> None:
    """List the source files that a version was made from."""
    found = find(api, view)
    chosen = version or data(api.get(f"{PATH}{found['id']}/"))["current_snapshot_id"]
    if chosen is None:
        raise Failure(f"{found['name']} has no result yet")
    path = f"{PATH}{found['id']}/snapshots/{chosen}/source_files/"
    with _of_version(found, chosen):
        if api.as_json:
            echo_json(api.whole_list(path))
            return
        files = api.items(path)
    echo_columns(
        ("TABLE", "CHANGED", "BYTES", "DIGEST", "PATH"),
        [(one["table"], moment(one["modified_at"]), one["bytes"], one["digest"], one["path"]) for one in files],
    )


@with_api
def roll_back(
    api: Api,
    view: View,
    version: PublishedSnapshot,
    keep_schedule: Annotated[
        bool, typer.Option("--keep-schedule", help="Do not pause the schedule: its next run replaces the version.")
    ] = False,
) -> None:
    """Show readers an earlier version, at once; pauses the schedule, so that it stays."""
    found = find(api, view)
    body = {"snapshot_id": version, "pause_schedule": not keep_schedule}
    with _of_version(found, version):
        response = api.post(f"{PATH}{found['id']}/rollback/", body)
    if api.as_json:
        echo_json(response.text)
        return
    resume = advice("view", "resume", found["name"])
    paused = f", and the schedule is paused; to resume it: {resume}" if data(response)["schedule_paused"] else ""
    echo(f"{found['name']}: readers see version {version}{paused}")


@with_api
def publish(
    api: Api,
    view: View,
    version: PublishedSnapshot,
    reason: Annotated[str, typer.Option(help="Why, for the activity of the view.")] = "",
) -> None:
    """Publish a version that its checks keep from readers."""
    found = find(api, view)
    with _of_version(found, version):
        response = api.post(f"{PATH}{found['id']}/snapshots/{version}/promote/", {"reason": reason})
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{found['name']}: readers see version {version}")


@with_api
def pin(api: Api, view: View, version: PublishedSnapshot) -> None:
    """Keep a version regardless of its age."""
    _pin(api, find(api, view), version, pinned=True)


@with_api
def unpin(api: Api, view: View, version: PublishedSnapshot) -> None:
    """Keep a version no longer than any other."""
    _pin(api, find(api, view), version, pinned=False)


def _pin(api: Api, view: Json, version: str, *, pinned: bool) -> None:
    with _of_version(view, version):
        response = api.patch(f"{PATH}{view['id']}/snapshots/{version}/", {"pinned": pinned})
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{view['name']}: version {version} is {'kept regardless of its age' if pinned else 'kept as any other'}")


@contextmanager
def _of_version(view: Json, version: str) -> Iterator[None]:
    """Requests about a version. Raises Failure that names it if it is no id, or of no version of the view."""
    listed = f"the versions: {advice('view', 'versions', view['name'])}"
    try:
        yield
    except Refused as refused:
        if not _is_id(version):
            raise Failure(f"{version!r} is no id of a version of {view['name']}; {listed}", EXIT_USAGE) from None
        if not (refused.is_bare or refused.detail == _NO_VERSION):
            raise
        raise Failure(f"{view['name']} has no version {version}, or keeps it no longer; {listed}") from None


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _mark(is_so: bool) -> str:
    return "yes" if is_so else ""
