"""Links from one page of a list to the others."""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Request

_PORTS = {"http": 80, "https": 443}


def page_link(request: Request, page: int) -> str:
    """The URL of another page of the requested list. See `link_with`."""
    return link_with(request, {"page": page})


def link_with(request: Request, changes: Mapping[str, object]) -> str:
    """The URL of the request with these values of its parameters.

    A client chooses its Host header, and a cache or a person may get the answer to its request. So the link begins with
    `MATVIEW_PUBLIC_URL` if that is set. Otherwise it begins with the Host header only if that names the address that
    the client connected to. Otherwise it is relative, and leads to the server that the request was sent to.
    """
    path = request.scope.get("asked_path", request.scope["path"])
    params = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in params if name not in changes]
    return f"{base_of(request)}{quote(path)}?{urlencode([*kept, *changes.items()])}"


def base_of(request: Request) -> str:
    """The beginning of the URL, as `link_with` chooses it; empty for a relative one."""
    public: str | None = request.app.state.public_url
    if public is not None:
        return public.rstrip("/")
    host, scheme = request.headers.get("host", ""), request.scope["scheme"]
    return f"{scheme}://{host}" if _names(host, request.scope.get("server"), _PORTS.get(scheme, 0)) else ""


def _names(host: str, server: tuple[str, int | None] | None, usual_port: int) -> bool:
    """Whether a Host header names the address and port that the server was reached at."""
    name, port = _split(host, usual_port)
    if server is None or port != server[1]:
        return False
    try:
        reached = ip_address(server[0])
        return reached.is_loopback if name.lower() == "localhost" else ip_address(name) == reached
    except ValueError:
        return False


def _split(host: str, usual_port: int) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.strip("[]"), usual_port
    return name.strip("[]"), int(port) if port.isdigit() else usual_port
