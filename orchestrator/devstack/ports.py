"""Ports on the loopback interface: a free one, or the one that was asked for."""

import random
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack

from orchestrator.devstack.home import StackError

LOOPBACK = "127.0.0.1"
# Below the ephemeral ports. A client that keeps trying to reach a stopped server could otherwise get the server's own
# port as its local port. It would then connect to itself, and the server could not listen.
_CANDIDATES = range(15000, 32000)
# The children of a stack that was just killed need a moment to release their ports.
_PATIENCE = 0.5


def choose_ports(wanted: Mapping[str, int]) -> list[int]:
    """A port for each option, all different.

    `wanted` holds the port of each command line option that sets one; 0 stands for any free port.

    Raises:
        StackError: When a port that was asked for is taken; the message names its option.
    """
    with ExitStack() as held:  # all stay bound until the last is found, so that none is found twice
        return [_hold(held, option, port) if port else _hold_any(held) for option, port in wanted.items()]


def _hold(held: ExitStack, option: str, port: int) -> int:
    deadline = time.monotonic() + _PATIENCE
    while not _listen(held, port):
        if time.monotonic() > deadline:
            raise StackError(f"{option} {port} is in use; choose another or 0 for a free one")
        time.sleep(0.05)
    return port


def _hold_any(held: ExitStack) -> int:
    for port in random.sample(_CANDIDATES, len(_CANDIDATES)):
        if _listen(held, port):
            return port
    raise StackError("no port is free")


def _listen(held: ExitStack, port: int) -> bool:
    probe = socket.socket()
    # As the servers do. Otherwise a connection in TIME_WAIT would make a free port look taken.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((LOOPBACK, port))
        probe.listen()
    except OSError:
        probe.close()
        return False
    held.enter_context(probe)
    return True
