"""The entry point of a child process, in a module that the parent can import without loading DuckDB."""

import contextlib
import os
import socket
from collections.abc import Sequence


def serve(sock: socket.socket, address_space: int, file_size: int, links: Sequence[socket.socket]) -> None:
    """Run the child process until its parent closes the socket. It asks for remote files over `links`."""
    # Linux may divide CPU time by session (autogroup, sched(7)): in a session of its own, a child can be given less.
    with contextlib.suppress(OSError):
        os.setsid()
    from orchestrator.engines.duckdb.child.main import main  # noqa: PLC0415 - DuckDB is loaded by children only

    if links:
        from orchestrator.engines.duckdb.child.object_access import open_links  # noqa: PLC0415 - seldom needed

        open_links(links)
    main(sock, address_space, file_size)
