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
        # The file system too, while all files can be read: what it is made of looks for settings when it is loaded.
        from orchestrator.engines.duckdb.child import object_access, object_files  # noqa: F401, PLC0415 - seldom needed

        object_access.open_links(links)
    main(sock, address_space, file_size)
