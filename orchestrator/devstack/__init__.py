"""PostgreSQL, Temporal and the program itself as children of one process: `matview dev`, and what tests stand on."""
