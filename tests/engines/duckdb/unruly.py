"""A child process that does not look at the statement before it runs it: only DuckDB's and the system's fences hold."""

import socket


def serve(sock: socket.socket, address_space: int, file_size: int) -> None:
    """Stands in for the function of the same name in `orchestrator.engines.duckdb.child.entry`."""
    # Loading it empties the environment, which a test process needs.
    from orchestrator.engines.duckdb.child import execute, main  # noqa: PLC0415

    execute._check = lambda *_: None
    main.main(sock, address_space, file_size)
