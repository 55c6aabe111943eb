"""The command line: servers to start, projects and keys to make, and the API for people."""
