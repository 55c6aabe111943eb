"""The credential of a bucket, given with `--access-key` and `--access-secret`."""

from typing import Annotated

import typer

from orchestrator.cli.api_client import Json

AccessKey = Annotated[
    str | None,
    typer.Option("--access-key", metavar="KEY", help="The access key of the bucket; an empty one forgets it."),
]
AccessSecret = Annotated[
    str | None,
    typer.Option(
        "--access-secret",
        metavar="SECRET",
        envvar="MATVIEW_ACCESS_SECRET",
        help="The secret that belongs to it; asked for if it is not given.",
    ),
]


def credential_of(access_key: str | None, access_secret: str | None) -> Json:
    """The field of a request that has the credential, if one is given."""
    if access_key is None:
        return {}
    if not access_key:
        return {"credential": None}
    secret = access_secret or typer.prompt("Secret of the access key", hide_input=True, err=True)
    return {"credential": {"access_key": access_key, "access_secret": secret}}
