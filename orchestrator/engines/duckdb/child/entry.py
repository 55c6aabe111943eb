"""The entry point of a child process, in a module that the parent can import without loading DuckDB."""

import contextlib
import os
import socket


def serve(sock: socket.socket, address_space: int, file_size: int) -> None:
    """Run the child process until its parent closes the socket."""
    # Linux may divide CPU time by session (autogroup, sched(7)): in a session of its own, a child can be given less.
    with contextlib.suppress(OSError):
        os.setsid()
    from orchestrator.engines.duckdb.child.main import main  # noqa: PLC0415 - DuckDB is loaded by children only

    main(sock, address_space, file_size)
