"""How often one query may read tables and views.

A module of its own, since the child processes that run queries import no more than they need.
"""

# How often a query may read a table, a snapshot or a view, once every view without a snapshot is replaced by its text.
# DuckDB plans each of these readings separately, and a view that reads another twice doubles them. Planning a query of
# a thousand readings takes from a tenth of a second to ten seconds.
MOST_READINGS = 1000
# Of the rows on which a check failed, so many are kept.
MOST_SAMPLES = 100
