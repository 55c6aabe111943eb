"""Definitions of a project as a whole: planned, applied, read back."""
