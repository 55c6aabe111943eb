"""The engine that the fuzzers drive."""

from tests.engines.conftest import engine, roots

__all__ = ["engine", "roots"]
