"""The client of the HTTP API for commands: finds the server, sends requests, and prints answers as text."""

import inspect
import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Concatenate, ParamSpec, Self

import httpx
import typer
from rich.cells import cell_len

from orchestrator.cli.installation import (
    EXIT_USAGE,
    folder_of,
    nearest_home,
    same_address,
    say_used,
    set_verbose,
    stack_info,
    state_of,
)
from orchestrator.cli.output import Failure, echo, hanging
from orchestrator.cli.statement_errors import with_place
from orchestrator.model.position import Position, position_from
from orchestrator.model.printable import one_line

P = ParamSpec("P")
Json = dict[str, Any]

_PAGE_SIZE = 1000
# The API says no more of an id that it does not know.
_NOT_FOUND = "Not found."
_NO_PATH = "there is no "
_NOT_TEXT = "what was given is not text in UTF-8"
# The API answers a cancel once the query has stopped, which takes seconds. A reachable server connects at once.
_TIMEOUT = httpx.Timeout(60, connect=5)
# A query may take as long as the server lets it.
_STREAM_TIMEOUT = httpx.Timeout(None, connect=5)

_ApiUrl = Annotated[str | None, typer.Option("--api-url", envvar="MATVIEW_API_URL", help="Where the API is.")]
_ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="MATVIEW_API_KEY", help="The key to use.")]
_Project = Annotated[int | None, typer.Option("--project", envvar="MATVIEW_PROJECT_ID", help="The project's id.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print the API's answer as it is.")]
_Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say which API and stack are used.")]


class Unavailable(Failure):
    """The API could not be reached, or answered 503."""


class Refused(Failure):
    """The API answered with an error: `detail` is its message, `code` the status of HTTP, `word` its own code.

    `position` is the place in the statement that is wrong, if the API knows it.
    """

    def __init__(
        self, detail: str, code: int, word: str = "", position: Position | None = None, message: str | None = None
    ) -> None:
        self.message = message or f"{detail} (HTTP {code})"
        super().__init__(self.message if position is None else with_place(self.message, position))
        self.detail = detail
        self.code = code
        self.word = word
        self.position = position

    @property
    def is_bare(self) -> bool:
        """Whether the API has only said that something is not there."""
        return self.code == httpx.codes.NOT_FOUND and self.detail.startswith(_NO_PATH)


class Api:
    """A client of one project, as a context manager. Every call returns a successful response or raises Failure.

    Args:
        url: The URL of the API.
        key: The key to send.
        project: The project's id.
        as_json: Whether commands print the JSON of the API unchanged.
        home: The folder of the stack whose API it is; None for any other API.
    """

    def __init__(
        self, url: str, key: str, project: int | str, *, as_json: bool = False, home: Path | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise Failure(f"the API's address begins with http:// or https://, not {url!r}", EXIT_USAGE)
        if not (key.isascii() and key.isprintable()):
            raise Failure("the API key holds characters that no key has", EXIT_USAGE)
        self.url = url.rstrip("/")
        self.project = project
        self.as_json = as_json
        self.home = home
        try:
            self._client = httpx.Client(
                base_url=f"{self.url}/api/projects/{project}/",
                headers={"Authorization": f"Bearer {key}"},
                timeout=_TIMEOUT,
                trust_env=not _is_this_machine(self.url),  # a proxy cannot reach a loopback address of this machine
                # To read the certificates of all authorities takes 20 ms, and only TLS needs them.
                verify=self.url.startswith("https://") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            )
        except httpx.InvalidURL as error:
            raise Failure(f"the API's address {url!r} is not valid: {error}", EXIT_USAGE) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **params: str | int) -> httpx.Response:
        """Send a GET request for a path below the project."""
        return self._send("GET", path, params=params)

    def post(self, path: str, body: Json | None = None) -> httpx.Response:
        """Send a POST request to a path below the project."""
        return self._send("POST", path, json=body or {})

    def patch(self, path: str, body: Json) -> httpx.Response:
        """Send a PATCH request to a path below the project."""
        return self._send("PATCH", path, json=body)

    def delete(self, path: str) -> httpx.Response:
        """Send a DELETE request for a path below the project."""
        return self._send("DELETE", path)

    def pages(self, path: str, **params: str | int) -> Iterator[httpx.Response]:
        """All pages of a list, each requested when the caller needs it."""
        page = 0
        more = True
        while more:
            page += 1
            response = self.get(path, page=page, page_size=_PAGE_SIZE, **params)
            more = data(response).get("next") is not None
            yield response

    def items(self, path: str, **params: str | int) -> list[Json]:
        """The items of all pages of a list."""
        return [item for page in self.pages(path, **params) for item in data(page)["results"]]

    def whole_list(self, path: str, **params: str | int) -> str:
        """All pages of a list as one JSON document: the answer as it is if there is only one."""
        first, *more = self.pages(path, **params)
        if not more:
            return first.text
        items = [item for page in (first, *more) for item in data(page)["results"]]
        whole = data(first) | {"count": len(items), "next": None, "previous": None, "results": items}
        return json.dumps(whole, ensure_ascii=False)

    @contextmanager
    def stream(self, method: str, path: str, **arguments: Any) -> Iterator[httpx.Response]:  # noqa: ANN401 - httpx's own
        """Send a request whose answer takes any time, and is read by the caller. Raises Failure if it breaks off."""
        began = False
        try:
            with self._client.stream(method, path, timeout=_STREAM_TIMEOUT, **arguments) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                began = True
                yield response
        except httpx.TransportError as error:
            if began:
                raise Failure("the answer broke off: the query failed, or the API ended") from None
            raise self._unavailable(error) from None
        except httpx.DecodingError:
            raise Failure("the answer is not compressed as it says") from None
        except UnicodeEncodeError:
            raise Failure(_NOT_TEXT, EXIT_USAGE) from None

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unavailable(error) from None
        except UnicodeEncodeError:  # an argument holds bytes that are not UTF-8
            raise Failure(_NOT_TEXT, EXIT_USAGE) from None
        if response.is_success:
            return response
        raise _refusal(response)

    def _unavailable(self, error: httpx.TransportError) -> Unavailable:
        if isinstance(error, httpx.TimeoutException):
            return Unavailable(f"the API at {self.url} does not answer")
        state = "is it running?" if self.home is None else state_of(self.home)
        return Unavailable(f"the API at {self.url} cannot be reached ({error}); {state}")


def with_api(command: Callable[Concatenate[Api, P], None]) -> Callable[..., None]:
    """Decorate a command whose first parameter is an Api: adds the options that choose it, and `--json`."""

    @wraps(command)
    def connected(
        *args: Any,  # noqa: ANN401 - the command's own
        api_url: str | None,
        api_key: str | None,
        project: int | None,
        as_json: bool,
        verbose: bool,
        **rest: Any,  # noqa: ANN401 - the command's own
    ) -> None:
        if verbose:
            set_verbose(verbose=True)
        with connect(api_url, api_key, project, as_json=as_json) as api:
            command(api, *args, **rest)

    _, *own = inspect.signature(command).parameters.values()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, kind, default in (
            ("api_url", _ApiUrl, None),
            ("api_key", _ApiKey, None),
            ("project", _Project, None),
            ("as_json", _AsJson, False),
            ("verbose", _Verbose, False),
        )
    ]
    connected.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined] # what Typer reads
    return connected


@contextmanager
def naming_file(file: str | None) -> Iterator[None]:
    """Have an error of a statement name the file that holds it, if one does."""
    try:
        yield
    except Refused as error:
        if file is None or error.position is None:
            raise
        raise Failure(with_place(error.message, error.position, file)) from None


def connect(url: str | None, key: str | None, project: int | str | None, *, as_json: bool = False) -> Api:
    """A client of the given API, or else of the `matview dev` in this folder or one above. Raises Failure."""
    home = nearest_home()
    found: Json = dict(stack_info(home) or {})
    # The key of `matview dev` must not be sent to another server.
    dev = found if not url or same_address(url, str(found.get("api_url"))) else {}
    url, key, project = dev.get("api_url") or url, key or dev.get("api_key"), project or dev.get("project_id")
    if url and key and project:
        say_used(f"the API at {url}, project {project}{f', of the stack in {folder_of(home)}' if dev else ''}")
        return Api(url, key.strip(), project, as_json=as_json, home=home if dev else None)
    wanted = {"MATVIEW_API_URL (--api-url)": url, "MATVIEW_API_KEY (--api-key)": key}
    wanted["MATVIEW_PROJECT_ID (--project)"] = str(project or "")
    missing = ", ".join(name for name, value in wanted.items() if not value)
    if found and not dev:
        other = f"{url} is not the address of the `matview dev` in {folder_of(home)}, which is {found['api_url']}"
        raise Failure(f"not set: {missing}; {other}", EXIT_USAGE)
    raise Failure(
        f"not set: {missing}; or start `matview dev` in this folder, then nothing needs to be set", EXIT_USAGE
    )


def data(response: httpx.Response) -> Json:
    """The JSON object of a response. Raises Failure if there is none, as in another server's answer."""
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Failure(f"what answers at {response.url} is not Matview's API")
    return found


def echo_columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below a header, aligned and never cut, so that people and `awk` can read them."""
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        echo("  ".join(padded).rstrip())


def echo_texts(rows: Sequence[tuple[str, str]]) -> None:
    """Print texts of any number of lines, each behind its label, aligned."""
    width = max((cell_len(one_line(label)) for label, _ in rows), default=0)
    for label, text in rows:
        shown = one_line(label)
        echo(hanging(shown + " " * (width - cell_len(shown) + 2), text))


def echo_descriptions(columns: Sequence[Json]) -> None:
    """Print the descriptions of the columns that have one, below an empty line."""
    rows = [(one["name"], one["description"]) for one in columns if one.get("description")]
    if rows:
        echo("")
        echo_texts(rows)


def moment(text: str | None) -> str:
    """A timestamp of the API without its fraction of a second; empty for None."""
    return text[:19] + "Z" if text else ""


def _cell(value: object) -> str:
    """The first line of a value as text; `-` if that is empty."""
    first, _, _ = str("" if value is None else value).partition("\n")
    return one_line(first) or "-"


def _refusal(response: httpx.Response) -> Failure:
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return Unavailable(f"{_detail(response)} (HTTP {response.status_code})")
    return Refused(_detail(response), response.status_code, _field(response, "code") or "", _position(response))


def _detail(response: httpx.Response) -> str:
    detail = _field(response, "detail")
    if detail == _NOT_FOUND:
        return f"{_NO_PATH}{response.request.url.path}"
    return detail or response.reason_phrase or "the API failed"


def _field(response: httpx.Response, name: str) -> str | None:
    try:
        return str(response.json()[name])
    except (ValueError, KeyError, TypeError):
        return None


def _position(response: httpx.Response) -> Position | None:
    try:
        found = response.json().get("position")
        return None if found is None else position_from(found)
    except (ValueError, AttributeError):
        return None


def _is_this_machine(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
