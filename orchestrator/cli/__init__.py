"""The command line: starts the servers, manages projects and keys, and calls the HTTP API."""
