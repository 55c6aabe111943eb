"""`matview console`: the address of the console, with a link that signs in once."""

import webbrowser
from typing import Annotated
from urllib.parse import urljoin

import httpx
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
        echo(_whole(api, response))
    if open_it and not webbrowser.open(_whole(api, response)):
        raise Failure("no browser could be opened here: copy the link into one")


def link_of(info: DevInfo) -> str:
    """A link to the console of a stack that runs; its plain address if there is none to be had."""
    try:
        with Api(info["api_url"], info["api_key"], info["project_id"]) as api:
            return _whole(api, api.post(_PATH))
    except Failure:
        return info["api_url"]


def _whole(api: Api, response: httpx.Response) -> str:
    """The link, at the address by which the command reaches the API if the API does not know one."""
    return urljoin(f"{api.url}/", str(data(response)["url"]))
