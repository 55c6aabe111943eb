"""Gives every path one spelling, before routing and all other middleware."""

from starlette.types import ASGIApp, Receive, Scope, Send

_ALIAS, _NAME = "/api/environments/", "/api/projects/"


class PathMiddleware:
    """Treats `/api/environments/…` as `/api/projects/…`, and a path without its trailing slash as the one with it.

    It sends no redirect, since many clients turn a redirected POST into a GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            path = scope["path"]
            if path.startswith(_ALIAS):
                path = _NAME + path.removeprefix(_ALIAS)
            scope = {**scope, "path": path.rstrip("/") + "/", "asked_path": scope["path"]}
        elif scope["type"] == "http":
            scope = {**scope, "path": scope["path"].rstrip("/") or "/", "asked_path": scope["path"]}
        await self._app(scope, receive, send)
