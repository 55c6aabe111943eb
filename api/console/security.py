"""Cookies, cross-site requests and the headers that limit what a page of the console may load or run."""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request, Response

from api.bodies import check_storable
from orchestrator.model.errors import Invalid, PermissionDenied

COOKIE = "matview-session"
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
_MOST_FIELDS = 500
_CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger UI and Redoc make style elements, and Redoc a worker of text. These two pages know no session.
_CSP_OF_DOCS = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ELSEWHERE = {"cross-site", "same-site"}


def add_headers(response: Response, *, docs: bool = False) -> None:
    """Limit what the page may load and run, also if the text that it shows was written to do harm."""
    response.headers["Content-Security-Policy"] = _CSP_OF_DOCS if docs else _CSP
    for name, value in _HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")


def csrf_token(session_token: str) -> str:
    """The token that every act of a session carries. No other site can read or compute it."""
    return hmac.new(session_token.encode(), b"matview console: csrf", hashlib.sha256).hexdigest()


def refuse_other_sites(request: Request) -> None:
    """Raise PermissionDenied for a request that a page of another site has made.

    Every browser of today says where a request comes from. One that does not is judged by its Origin.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    elsewhere = site in _ELSEWHERE if site else origin is not None and urlsplit(origin).netloc != _host(request)
    if elsewhere:
        raise PermissionDenied("This request comes from another site. Nothing was done.")


def check_csrf(request: Request, session_token: str, form: Mapping[str, str]) -> None:
    """Raise PermissionDenied for an act that does not carry the session's token."""
    sent = request.headers.get(CSRF_HEADER) or form.get(CSRF_FIELD) or ""
    if not hmac.compare_digest(sent.encode(), csrf_token(session_token).encode()):
        raise PermissionDenied("This page is no longer valid: load it again. Nothing was done.")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form. Of one that was sent twice, the last. Raises Invalid."""
    try:
        text = (await request.body()).decode()
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError:
        raise Invalid("The form could not be read.") from None
    check_storable(fields)
    return {name: value.replace("\r\n", "\n") for name, value in fields.items()}


def set_session_cookie(request: Request, response: Response, token: str, seconds: int) -> None:
    """Give the browser its session: no script reads it, and no request of another site carries it."""
    response.set_cookie(
        COOKIE, token, max_age=seconds, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )


def drop_session_cookie(response: Response) -> None:
    """Take the session from the browser."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def _host(request: Request) -> str:
    return request.headers.get("host", "")
