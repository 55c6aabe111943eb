"""How long the tests that make their own inputs go on: `MATVIEW_FUZZ_EXAMPLES` is about how many each of them makes."""

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = "MATVIEW_FUZZ_EXAMPLES"


def bounded(usual: int) -> settings:
    """So many examples in the suite, always the same ones; as many as were asked for otherwise, and new ones."""
    asked = os.environ.get(_EXAMPLES)
    return settings(
        max_examples=int(asked) if asked else usual,
        derandomize=not asked,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def long_enough(usual: int) -> float:
    """The seconds that a test may take that makes so many examples."""
    return 180 + int(os.environ.get(_EXAMPLES, usual)) * 0.5
