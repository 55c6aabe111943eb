"""A view's SQL: which statements and functions it may consist of, what it reads, which columns it gives."""
