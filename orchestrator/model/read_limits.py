"""How often one query may read something. Apart, since the processes that run queries load no more than they need."""

# How often a query may read a table, a snapshot or a view, once the text of every view without a snapshot stands in the
# place of its name. DuckDB plans each of these readings by itself, and a view that reads another twice doubles them:
# some queries of a thousand are planned in a tenth of a second, some in ten.
MOST_READINGS = 1000
