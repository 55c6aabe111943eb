"""Reads the files of source tables that are in object stores, or behind an HTTPS address."""
