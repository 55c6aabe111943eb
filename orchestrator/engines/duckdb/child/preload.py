"""Done once for all children: the server that they are forked from imports this last."""

import contextlib
import gc

import duckdb

from orchestrator.engines.duckdb.child.session import preopen_database

with contextlib.suppress(duckdb.Error, MemoryError):  # each child opens its own then, and says what is wrong
    preopen_database()
# Looking for garbage writes to every object, and what is written to has to be copied for the child that does.
gc.freeze()
