"""Restrictions of the operating system on a process that runs a view's SQL."""
