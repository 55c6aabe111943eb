"""Settings of the tests that generate inputs: `MATVIEW_FUZZ_EXAMPLES` is about how many each of them generates."""

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = "MATVIEW_FUZZ_EXAMPLES"


def bounded(usual: int) -> settings:
    """The `usual` number of examples, always the same ones; or the number in the environment, and new ones."""
    asked = os.environ.get(_EXAMPLES)
    return settings(
        max_examples=int(asked) if asked else usual,
        derandomize=not asked,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def long_enough(usual: int) -> float:
    """The seconds that a test with so many examples may take."""
    return 180 + int(os.environ.get(_EXAMPLES, usual)) * 0.5
