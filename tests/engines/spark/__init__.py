"""Imports the client of Spark."""

from tests.support import spark_client as spark_client
