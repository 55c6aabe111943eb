"""A view's SQL: the statements and functions that it may use, the relations that it reads, and its columns."""
