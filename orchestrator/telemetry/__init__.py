"""What a process tells of itself: logs, metrics and traces.

None of it may cost a run: what cannot be counted, served or sent is left out, and said once in the log.
"""
