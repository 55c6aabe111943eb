"""The child process: its start, its loop of requests, and what it does for each."""
