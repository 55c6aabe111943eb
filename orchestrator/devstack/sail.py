"""Sail from its wheel: a server of Spark Connect, for views with the engine spark on one machine."""

import asyncio
import importlib.util
import os
import sys
from collections.abc import Sequence

from orchestrator.devstack.home import Home, StackError
from orchestrator.devstack.ports import LOOPBACK
from orchestrator.devstack.processes import ManagedProcess

# Its threads also answer its clients. With one for each processor, as by default, queries that compute without a pause
# would keep it from taking an interrupt.
_SPARE_THREADS = 6
_STORE_VARIABLES = {
    "MATVIEW_STORE_ENDPOINT": "AWS_ENDPOINT_URL",
    "MATVIEW_STORE_REGION": "AWS_REGION",
    "MATVIEW_STORE_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID",
    "MATVIEW_STORE_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
}


class Sail(ManagedProcess):
    """A Sail server, which runs queries in its own process."""

    def __init__(self, home: Home, *, port: int) -> None:
        super().__init__("sail", home)
        self._port = port

    @property
    def remote(self) -> str:
        """Its URL for clients of Spark Connect."""
        return f"sc://{LOOPBACK}:{self._port}"

    def command(self) -> Sequence[str]:
        """The server. Raises StackError if it is not installed."""
        if importlib.util.find_spec("pysail") is None:
            raise StackError("Sail is not installed; install matview[sail]")
        return [sys.executable, "-m", "pysail", "spark", "server", "--ip", LOOPBACK, "--port", str(self._port)]

    def environment(self) -> dict[str, str]:
        """The developer's keys to buckets and settings of Sail, and the keys to the bucket of results. No others."""
        own = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "SAIL_"))}
        keys = own | _keys_to_store()
        threads = (os.cpu_count() or 1) + _SPARE_THREADS
        return keys | {"PATH": os.defpath, "HOME": str(self.home.path), "TOKIO_WORKER_THREADS": str(threads)}

    async def ready(self) -> bool:
        """Whether the server listens."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError as error:
            self.not_ready_reason = str(error)
            return False
        writer.close()
        await writer.wait_closed()
        return True


def _keys_to_store() -> dict[str, str]:
    """How Sail reaches the bucket that the stack keeps results in, as the variables that it reads."""
    keys = {theirs: os.environ[own] for own, theirs in _STORE_VARIABLES.items() if own in os.environ}
    if endpoint := keys.get("AWS_ENDPOINT_URL"):  # such servers seldom have a name for each bucket
        keys |= {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false", "AWS_ALLOW_HTTP": str(endpoint.startswith("http://"))}
    return keys
