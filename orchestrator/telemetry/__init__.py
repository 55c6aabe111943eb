"""Logs, metrics and traces of a process.

Telemetry fails no run: if something cannot be counted, served or sent, it is left out and the log says so.
"""
