"""An S3 server with a bucket, in a process of its own, and the settings that lead to it."""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import httpx

from orchestrator.devstack.ports import choose_ports

BUCKET = "results"
_PATIENCE = 60.0
_REQUEST = re.compile(r"(?P<method>GET|HEAD|PUT|POST|DELETE) (?P<target>/\S*)")


class S3Server(NamedTuple):
    """A running server, and the keys that are sent to it."""

    endpoint: str
    log: Path
    access_key_id: str = "an-access-key-of-tests"
    secret_access_key: str = "a-secret-key-of-tests-that-is-nowhere"  # noqa: S105 - the server accepts any

    def settings(self, url: str, endpoint: str | None = None) -> dict[str, str]:
        """The variables of an installation whose results are at that URL, reached through another endpoint if given."""
        return {
            "MATVIEW_STORE": url,
            "MATVIEW_STORE_ENDPOINT": endpoint or self.endpoint,
            "MATVIEW_STORE_REGION": self.options["region"],
            "MATVIEW_STORE_ACCESS_KEY_ID": self.access_key_id,
            "MATVIEW_STORE_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def requests(self, prefix: str) -> Counter[str]:
        """How often each kind of request has named the prefix, in a path or a parameter."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = (_REQUEST.search(line) for line in lines if prefix in unquote(line))
        return Counter(_kind(match["method"], match["target"]) for match in found if match)

    @property
    def options(self) -> dict[str, str]:
        """The options with which the object store is opened."""
        return {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }


def _kind(method: str, target: str) -> str:
    return "LIST" if method == "GET" and "list-type" in target else method


@contextmanager
def s3_server(log: Path) -> Iterator[S3Server]:
    """Run the server while the context lasts. Its log goes to a file."""
    (port,) = choose_ports({"s3": 0})
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=written, stderr=written
        )
    try:
        server = S3Server(f"http://127.0.0.1:{port}", log)
        _make_bucket(server.endpoint, process)
        yield server
    finally:
        process.terminate()
        process.wait()


def _make_bucket(endpoint: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, "the S3 server has ended"
        try:
            httpx.put(f"{endpoint}/{BUCKET}").raise_for_status()
        except httpx.TransportError:
            assert time.monotonic() < until, "the S3 server does not answer"
            time.sleep(0.05)
        else:
            return
