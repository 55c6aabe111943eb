"""`matview key`: the operator of the installation creates, lists and revokes API keys."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from orchestrator.cli.api_client import echo_columns
from orchestrator.cli.database_access import storable, with_access
from orchestrator.cli.installation import EXIT_USAGE, HomeOption
from orchestrator.cli.output import Failure, echo, echo_json, warn
from orchestrator.model.base import now
from orchestrator.model.principal import ApiKey, Scope

app = typer.Typer(help="API keys.", no_args_is_help=True)

_LENGTH = re.compile(r"(?P<number>[1-9][0-9]{0,5})(?P<unit>min|h|hours?|d|days?|w|weeks?)")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=36_500)


@app.command("create")
def create_key(
    email: Annotated[str, typer.Option(help="Whose key it is.")],
    *,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeat for several. All, unless given.")
    ] = None,
    project_id: Annotated[
        list[int] | None, typer.Option("--project", help="Where it may be used; repeat for several. Anywhere, if none.")
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires: Annotated[
        str | None,
        typer.Option(help="When it stops to work: 30d, 12h or 8w from now, or a date (its first moment, UTC)."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Create a key and print it. It is shown this once, and stored only as a hash."""
    expires_at = None if expires is None else moment_of(expires)
    made = with_access(
        home,
        lambda access: access.create_key(
            email=storable(email),
            label=storable(label),
            scopes=scope or list(Scope),
            project_ids=project_id or None,
            expires_at=expires_at,
        ),
    )
    echo(made.token)
    until = f"works until {_shown(made.expires_at)}" if made.expires_at else "does not expire"
    warn(f"key {made.id}; it {until}")


@app.command("list")
def list_keys(
    *,
    every: Annotated[bool, typer.Option("--all", help="Also those that are revoked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    home: HomeOption = None,
) -> None:
    """List the keys. When one was last used is exact to a minute."""
    moment = now()
    found = [key for key in with_access(home, lambda access: access.list_keys()) if every or key.revoked_at is None]
    if as_json:
        echo_json(json.dumps([key.model_dump(mode="json") | {"state": key.state(moment)} for key in found], indent=2))
        return
    echo_columns(
        ("ID", "KEY", "STATE", "LABEL", "OWNER", "PROJECTS", "CREATED", "EXPIRES", "LAST USED", "SCOPES"),
        [_row(key, moment) for key in found],
    )


@app.command("revoke")
def revoke_key(
    key: Annotated[
        str,
        typer.Argument(
            help="Its id or how that begins, its label, how the key begins, or the key itself.", show_default=False
        ),
    ],
    *,
    every: Annotated[bool, typer.Option("--every", help="Each one of that label, if there are several.")] = False,
    home: HomeOption = None,
) -> None:
    """Revoke a key: from now on every process refuses requests with it."""
    for one in with_access(home, lambda access: access.revoke_key(storable(key), every=every)):
        echo(f"revoked {one.id}{f' ({one.label})' if one.label else ''} of {one.email}")


def moment_of(expires: str) -> datetime:
    """Parse a duration from now, or a date, into a time. Raises Failure unless it is in the next hundred years."""
    text = expires.strip()
    length = _LENGTH.fullmatch(text)
    try:
        moment = now() + int(length["number"]) * _UNITS[length["unit"][0]] if length else datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _misused(f"{text!r} is neither a length like 30d, 12h or 8w nor a date like 2027-01-31") from None
    if moment <= now():
        raise _misused(f"{text} has passed already")
    if moment > now() + _LONGEST:
        raise _misused(f"{text} is more than a hundred years away; a key without --expires does not expire")
    return moment


def _misused(message: str) -> Failure:
    return Failure(f"--expires: {message}", EXIT_USAGE)


def _row(key: ApiKey, moment: datetime) -> tuple[object, ...]:
    projects = "every" if key.project_ids is None else " ".join(map(str, key.project_ids))
    scopes = "all" if set(key.scopes) >= set(Scope) else " ".join(key.scopes)
    times = (_shown(key.created_at), _shown(key.expires_at), _shown(key.last_used_at))
    hint = f"{key.hint}…" if key.hint else None
    return (key.id, hint, key.state(moment), key.label, key.email, projects, *times, scopes)


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
