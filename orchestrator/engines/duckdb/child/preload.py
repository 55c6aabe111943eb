"""Prepares once for all children: the server that they are forked from imports this last."""

import contextlib
import gc

import duckdb

from orchestrator.engines.duckdb.child.session import preopen_database

with contextlib.suppress(duckdb.Error, MemoryError):  # each child then opens its own, and reports the error
    preopen_database()
# A garbage collection writes to every object. In a child, the kernel would have to copy each page that it writes to.
gc.freeze()
