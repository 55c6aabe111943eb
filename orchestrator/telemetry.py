"""Logs: one line an event on standard error, for whoever collects them."""

import logging


def set_up_logging(level: str) -> None:
    """Log at `level` and above."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True)
    # The SDK appends its context to each message as a dictionary; the fields stay on the record.
    logging.getLogger("httpx").setLevel(logging.WARNING)
