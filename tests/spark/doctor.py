"""The line of `matview doctor` about the cluster of a stack."""

import asyncio
import json
from collections.abc import Mapping

from orchestrator.devstack.stack import DevStack
from tests.spark.lost_workers import remote_of
from tests.support.commands import run_matview
from tests.support.tenants import Json


async def spark_line(stack: DevStack, variables: Mapping[str, str]) -> Json:
    """The line, for these variables beside those of the stack."""
    own = {
        "MATVIEW_DATABASE_URL": stack.info["database_url"],
        "MATVIEW_DATA_DIR": stack.info["data_dir"],
        "MATVIEW_TEMPORAL_ADDRESS": stack.info["temporal_address"],
        "MATVIEW_TEMPORAL_NAMESPACE": stack.info["temporal_namespace"],
        "MATVIEW_SPARK_REMOTE": remote_of(stack),
    }
    ended = await asyncio.to_thread(run_matview, "doctor", "--json", env=own | dict(variables))
    (line,) = [one for one in json.loads(ended.stdout)["lines"] if one["check"] == "spark"]
    found: Json = line
    return found
