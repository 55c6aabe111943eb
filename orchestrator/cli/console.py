"""`matview console`: the address of the console, with a link that signs in once."""

import webbrowser
from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, data, with_api
from orchestrator.cli.output import Failure, echo, echo_json
from orchestrator.devstack.home import DevInfo

_PATH = "console_links/"


def add_to(main: typer.Typer) -> None:
    """Add the command."""
    main.command("console")(console)


@with_api
def console(
    api: Api, *, open_it: Annotated[bool, typer.Option("--open", help="Also open it in the browser.")] = False
) -> None:
    """Print a link that opens the console in a browser, signed in with the key. It works once, within an hour."""
    response = api.post(_PATH)
    if api.as_json:
        echo_json(response.text)
    else:
        echo(data(response)["url"])
    if open_it and not webbrowser.open(data(response)["url"]):
        raise Failure("no browser could be opened here: copy the link into one")


def link_of(info: DevInfo) -> str:
    """A link to the console of a stack that runs; its plain address if there is none to be had."""
    try:
        with Api(info["api_url"], info["api_key"], info["project_id"]) as api:
            return str(data(api.post(_PATH))["url"])
    except Failure:
        return info["api_url"]
