"""Refreshes of several views as one."""
