"""Requests over HTTP: timeouts, retries, and errors as exceptions."""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time as time_of_day
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx

from matview.errors import MatviewError, NotFound, QueryError, Unauthorized, Unavailable

_CONNECT_SECONDS = 10.0
_PAUSES = (0.5, 1.0, 2.0)  # before the second, third and fourth try, unless the server says how long
_LONGEST_PAUSE = 30.0
_AGAIN = {429, 502, 503, 504}
_IDEMPOTENT = {"GET", "HEAD", "DELETE"}


@dataclass(frozen=True)
class Request:
    """A request of the API. `is_repeatable` says that sending it twice does no more than sending it once."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reads_rows: bool = False
    is_repeatable: bool | None = None

    @property
    def may_be_sent_again(self) -> bool:
        """Whether to try again where that can help."""
        return self.method in _IDEMPOTENT if self.is_repeatable is None else self.is_repeatable


class Transport:
    """The connection pool of one server, with a key. Threads may share it."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        """`timeout` is how long the server may be silent, in seconds."""
        try:
            base = httpx.URL(url.strip().rstrip("/"))
        except httpx.InvalidURL as error:
            raise MatviewError(f"{url!r} is no URL: {error}.") from error
        if base.scheme not in {"http", "https"} or not base.host:
            raise MatviewError(f"{url!r} is no URL of a Matview API, such as http://127.0.0.1:8000.")
        key = key.strip()
        if not (key.isascii() and key.isprintable()):
            raise Unauthorized("The key holds characters that no key of Matview has.", code="not_authenticated")
        self.is_local = _is_loopback(base.host)
        self._http = httpx.Client(
            base_url=base,
            headers={"Authorization": f"Bearer {key}", "User-Agent": "matview-python"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            # A proxy of the environment cannot reach the loopback interface of this machine.
            trust_env=not self.is_local,
            # To read the certificates of all authorities takes 20 ms, and only TLS needs them.
            verify=base.scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    @property
    def url(self) -> str:
        """Where the API is."""
        return str(self._http.base_url)

    def close(self) -> None:
        """Close all connections. A read that is still open ends with them."""
        self._http.close()

    def call(self, request: Request) -> Any:  # noqa: ANN401 - the JSON of the answer
        """The answer as JSON, None if it has no body. Raises MatviewError."""
        with self.open(request) as response:
            content = _content(response)
            try:
                return json.loads(content) if content else None
            except ValueError as error:
                raise MatviewError(
                    f"{response.url} answers with something other than JSON: it is no Matview API.",
                    status=response.status_code,
                ) from error

    def attempt(self, request: Request, seconds: float) -> None:
        """Send a request once, and wait for its answer for so many seconds. Its failure changes nothing."""
        try:
            self._http.request(request.method, request.path, timeout=seconds)
        except (httpx.HTTPError, RuntimeError):  # httpx raises the latter if the pool is closed
            return

    @contextmanager
    def open(self, request: Request) -> Iterator[httpx.Response]:
        """The answer, whose body the caller reads. Leaving the context before its end closes the connection."""
        response = self._send(request)
        try:
            yield response
        finally:
            response.close()

    def _send(self, request: Request) -> httpx.Response:
        """The answer if it is a success. Tries again where that can help.

        A server that stayed silent is not asked again: it may be at work on the first request still.
        """
        pauses = iter(_PAUSES if request.may_be_sent_again else ())
        while True:
            try:
                return self._send_once(request)
            except Unavailable as error:
                pause = next(pauses, None)
                wanted = error.retry_after if error.retry_after is not None else pause
                if pause is None or wanted is None or wanted > _LONGEST_PAUSE or _was_silent(error):
                    raise
                time.sleep(wanted)

    def _send_once(self, request: Request) -> httpx.Response:
        content = None if request.body is None else json.dumps(request.body, default=_as_text).encode()
        headers = dict(request.headers) | ({} if content is None else {"Content-Type": "application/json"})
        built = self._http.build_request(
            request.method, request.path, params=dict(request.params), content=content, headers=headers
        )
        try:
            response = self._http.send(built, stream=True)
        except httpx.TransportError as error:
            raise Unavailable(f"{self.url} cannot be reached: {_words(error)}.") from error
        except RuntimeError as error:  # httpx's own, which names its classes
            raise MatviewError("This connection is closed.", code="closed") from error
        if response.is_success:
            return response
        try:
            raise _error_of(response, _content(response), reads_rows=request.reads_rows)
        finally:
            response.close()


def _content(response: httpx.Response) -> bytes:
    try:
        return response.read()
    except httpx.TransportError as error:
        raise Unavailable(f"The answer of {response.url} broke off: {_words(error)}.") from error


def _error_of(response: httpx.Response, content: bytes, *, reads_rows: bool) -> MatviewError:
    """The exception for an answer that is no success."""
    status = response.status_code
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    body: dict[str, Any] = found if isinstance(found, dict) else {}
    detail = str(body.get("detail") or f"{response.url} answers with the status {status}.")
    code = str(body.get("code") or "error")
    if status in _AGAIN:
        return Unavailable(detail, code=code, status=status, retry_after=_seconds(response.headers.get("retry-after")))
    kind = {401: Unauthorized, 403: Unauthorized, 404: NotFound}.get(status, MatviewError)
    if kind is MatviewError and reads_rows and "code" in body:
        kind = QueryError
    return kind(detail, code=code, attr=body.get("attr"), status=status, position=body.get("position"))


def _was_silent(error: Unavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, httpx.TimeoutException) and not isinstance(cause, httpx.ConnectTimeout)


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # a date, as only proxies send it
        return None


def _words(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _as_text(value: object) -> str:
    """The values of a query that JSON has no type for, as DuckDB reads them."""
    if isinstance(value, (datetime, date, time_of_day)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    raise TypeError(f"A value of a query cannot be a {type(value).__name__}.")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
