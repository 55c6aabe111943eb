"""The checker: invariants during the run and at its end, and the files of results."""
