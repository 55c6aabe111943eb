"""Where a child process begins. Apart, so that the parent can name it without loading DuckDB."""

import contextlib
import os
import socket


def serve(sock: socket.socket, address_space: int, file_size: int) -> None:
    """Run the child until its parent lets it go."""
    # Linux may share the processor among sessions (autogroup, sched(7)): in its own, a child can be the one that waits.
    with contextlib.suppress(OSError):
        os.setsid()
    from orchestrator.engines.duckdb.child.main import main  # noqa: PLC0415 - DuckDB is loaded by children only

    main(sock, address_space, file_size)
