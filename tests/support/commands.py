"""Runs commands of the program in processes of their own, which begin after the imports; see command_server.py."""

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

SERVER = Path(__file__).with_name("command_server.py")


def run_matview(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """How a command ended, and what it wrote. Of the `MATVIEW_` variables it sees only those that are given."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MATVIEW_")}
    request = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "env": own | dict(env or {})}
    ended, tell = os.pipe()
    with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        json.dump(request, asked)
        asked.flush()
        with Path(os.devnull).open() as nothing:
            given = (asked, nothing, out, err)
            socket.send_fds(_server(), [b"."], [*(file.fileno() for file in given), tell])
        os.close(tell)
        with os.fdopen(ended) as status_pipe:
            status = int(status_pipe.read())
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode(), err.read().decode())


@cache
def _server() -> socket.socket:
    """The way to the server, which ends when this process does."""
    ours, theirs = socket.socketpair()
    own = {name: value for name, value in os.environ.items() if not name.startswith("MATVIEW_")}
    command = [sys.executable, "-P", str(SERVER), str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=own, cwd="/")
    theirs.close()

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours
