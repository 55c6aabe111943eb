"""Checks: bad data does not become visible."""
