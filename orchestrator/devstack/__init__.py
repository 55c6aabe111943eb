"""PostgreSQL, Temporal and the program as child processes of one process, for `matview dev` and for tests."""
