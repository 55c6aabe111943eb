"""The child process: its start, its request loop, and the handler of each kind of request."""
