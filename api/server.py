"""The uvicorn server that the API runs in."""

import resource
import signal
import sys

import uvicorn

from api.connections import Bounds, Register
from api.heads import MOST_BYTES
from api.protocol import GuardedProtocol, Refusals
from orchestrator.settings import Settings

# For PostgreSQL, Temporal, the processes that parse statements, and briefly open files.
_OTHER_FILES = 256
# More open files than that are of no use here, and a machine may allow a thousand million.
_ENOUGH_FILES = 65_536
_FEWEST_CONNECTIONS = 16
# Longer than clients keep an idle connection. Otherwise one could be closed while a client sends a request on it.
_KEEP_ALIVE_SECONDS = 75
_SHUTDOWN_SECONDS = 30
_NOT_STARTED = 3  # as uvicorn's own command exits


def serve(settings: Settings) -> None:
    """Answer requests until a signal says to stop. Exits with an error if the API cannot start."""
    # After its shutdown, uvicorn sends itself the signal again, which would end the process before its clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = uvicorn.Server(config_of(settings, open_files=raise_open_files()))
    server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


def config_of(settings: Settings, *, open_files: int) -> uvicorn.Config:
    """The configuration of uvicorn, in a process that may have that many open files."""
    bounds = Bounds(
        in_all=max(_FEWEST_CONNECTIONS, min(settings.api_connections, open_files - _OTHER_FILES)),
        of_one=settings.api_connections_per_client,
        trusted=settings.trusted_proxies,
    )
    return uvicorn.Config(
        "api.app:create_app",
        factory=True,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http=guarded_by(bounds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # By default, uvicorn trusts every process of this machine to name another client in X-Forwarded-* headers.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        h11_max_incomplete_event_size=MOST_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


def guarded_by(bounds: Bounds) -> type[GuardedProtocol]:
    """The protocol of a server with these bounds: a class, since uvicorn makes one object of it for each connection."""
    return type("BoundProtocol", (GuardedProtocol,), {"register": Register(bounds), "refusals": Refusals()})


def raise_open_files() -> int:
    """Raise the limit of open files as far as it is allowed and of use, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return min(soft, _ENOUGH_FILES) if soft != resource.RLIM_INFINITY else _ENOUGH_FILES
