"""Links from one page of a list to the others."""

from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Request

_PORTS = {"http": 80, "https": 443}


def page_link(request: Request, page: int) -> str:
    """Where another page of the list that was asked for is.

    A client chooses what its Host header says, and a cache or a person may be shown the answer that it gets. So the
    link begins with `MATVIEW_PUBLIC_URL` where that is set; otherwise with what the header says only if that is the
    very address that was connected to; otherwise it is relative, and leads to where the request was sent.
    """
    path = request.scope.get("asked_path", request.scope["path"])
    params = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in params if name != "page"]
    return f"{_base(request)}{quote(path)}?{urlencode([*kept, ('page', page)])}"


def _base(request: Request) -> str:
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
