"""A Sail server, which speaks Spark Connect, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.devstack.ports import choose_ports

_PATIENCE = 60.0


@contextmanager
def sail_server(log: Path) -> Iterator[str]:
    """Run the server while the context lasts; yields its URL."""
    (port,) = choose_ports({"sail": 0})
    command = [sys.executable, "-m", "pysail", "spark", "server", "--ip", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as written:
        environment = {**os.environ, "TOKIO_WORKER_THREADS": "8"}
        process = subprocess.Popen(command, stdout=written, stderr=written, env=environment)
    try:
        until = time.monotonic() + _PATIENCE
        while True:
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until, "Sail does not listen"
                time.sleep(0.05)
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
