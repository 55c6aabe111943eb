"""The HTTP API: from requests to the shelf and the levers, and back. It decides nothing."""
