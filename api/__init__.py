"""The HTTP API: translates requests to calls of the services, and their results to answers. It decides nothing."""
