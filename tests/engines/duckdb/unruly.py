"""A child process that does not check a statement before it runs it: only DuckDB's lock and the sandbox are left."""

import socket
from collections.abc import Sequence


def serve(sock: socket.socket, address_space: int, file_size: int, links: Sequence[socket.socket]) -> None:
    """Replaces the function of the same name in `orchestrator.engines.duckdb.child.entry`."""
    # Importing it empties the environment, which the test's own process needs.
    from orchestrator.engines.duckdb.child import execute, main, object_access, object_files, read  # noqa: F401, PLC0415

    for module in (execute, read):
        vars(module)["check_plan"] = lambda *_: None
    object_access.open_links(links)
    main.main(sock, address_space, file_size)
