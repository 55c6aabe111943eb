"""The revision of each view that this user's commands have saved or shown last, from which the next edit starts.

One file a view, replaced atomically, so commands that run at the same time cannot damage it. If it is lost, the next
edit asks before it replaces the query.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from orchestrator.cli.api_client import Api, Json, Refused, data, moment
from orchestrator.cli.confirmation import ask, can_ask
from orchestrator.cli.output import Failure
from orchestrator.cli.program import advice
from orchestrator.model.names import fold

_PATH = "warehouse_saved_queries/"
_CONFLICT = "edit_conflict"
_LONGEST = 64
_ENTRIES = 100


def remember(api: Api, view: Json) -> None:
    """Note the revision of a view that was saved or shown. A failure to write it is ignored."""
    revision = view.get("latest_history_id")
    if not revision:
        return
    with suppress(OSError, RuntimeError):  # the second: there is no home folder
        path = _file(api, view["name"])
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(str(revision))
        Path(draft).replace(path)


def remembered(api: Api, name: str) -> str | None:
    """The revision of the view of that name that was saved or shown last; None if none is known."""
    try:
        with _file(api, name).open() as file:
            return str(UUID(file.read(_LONGEST)))
    except (OSError, ValueError, RuntimeError):
        return None


def save(
    api: Api, name: str, send: Callable[[str | None], httpx.Response], start: str | None, *, asks: bool
) -> httpx.Response:
    """Save a view by `send`, which gets the revision that the edit started from; remember the new one.

    If the query was changed since, or if `start` is None, and `asks`, the person at the terminal decides. Raises
    Failure that says who changed it and what to do.
    """
    try:
        response = send(start)
    except Refused as refused:
        if refused.word != _CONFLICT:
            raise
        response = send(_agreed(api, name, start, asks=asks))
    remember(api, data(response))
    return response


def conflict(api: Api, name: str, start: str | None) -> tuple[str, str]:
    """The view's current revision, and a sentence that says who saved it."""
    view = next(iter(api.items(_PATH, name=name)), None)
    if view is None:
        raise Failure(f"{name} has just been renamed or deleted")
    current = str(data(api.get(f"{_PATH}{view['id']}/"))["latest_history_id"])
    by = last_editor(api, view["id"])
    if start is None:
        return current, f"{view['name']} exists, and its query is not known here: it was saved last{by or ' by others'}"
    return current, f"The query of {view['name']} was modified by someone else{by or ', or from elsewhere'}"


def last_editor(api: Api, view_id: str) -> str | None:
    """Who changed a view's query last, and when; None if the key may not read that."""
    with suppress(Failure):
        for entry in data(api.get(f"{_PATH}{view_id}/activity/", limit=_ENTRIES))["results"]:
            if any(change["field"] == "query" for change in entry["detail"]["changes"]) or entry.get("abridged"):
                return f" by {person(entry['user'])} at {moment(entry['created_at'])}"
    return None


def person(user: Json) -> str:
    """A person of the activity log, as text."""
    name = " ".join(part for part in (user.get("first_name"), user.get("last_name")) if part)
    return f"{name} <{user['email']}>" if name and user["email"] else str(user["email"] or name)


def _agreed(api: Api, name: str, start: str | None, *, asks: bool) -> str:
    """The revision to replace, if the person agrees to that. Raises Failure otherwise."""
    current, sentence = conflict(api, name, start)
    if asks and can_ask():
        if ask(f"{sentence}. Replace it?"):
            return current
        raise Failure("nothing was saved")
    see = f"to see it: {advice('view', 'show', name)}"
    raise Failure(f"{sentence}. Nothing was saved; {see}; to replace it, add --edited-history-id {current}")


def _file(api: Api, name: str) -> Path:
    """The file for a view: in the stack's folder, whose address may change, or in the user's cache folder."""
    folder, server = (api.home, "") if api.home is not None else (_cache(), api.url)
    key = hashlib.sha256(f"{server}\n{api.project}\n{fold(name)}".encode("utf-8", "surrogateescape"))
    return folder / "revisions" / key.hexdigest()[:32]


def _cache() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".cache"
    return base / "matview"


def changes_of(entry: Json) -> Iterator[tuple[str, Any, Any]]:
    """The fields that an entry of the activity log changed, with their values before and after."""
    for change in entry["detail"]["changes"]:
        yield change["field"], change["before"], change["after"]
