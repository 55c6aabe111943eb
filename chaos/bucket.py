"""A bucket for the results of a run of the harness, behind a network that fails."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from obstore.store import ObjectStore

from orchestrator.stores.objects import open_objects
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.s3_server import BUCKET, s3_server

_URL = f"s3://{BUCKET}/chaos"


@dataclass(frozen=True)
class Bucket:
    """The objects, as the harness reads them without faults, and the network between them and the stack."""

    objects: ObjectStore
    network: FaultyProxy


@asynccontextmanager
async def a_bucket(random: Random) -> AsyncIterator[Bucket]:
    """Run an S3 server while the context lasts, with the settings of this process leading to it through the network."""
    with s3_server(Path(os.devnull)) as server:
        async with FaultyProxy(server.endpoint, seed=random.randrange(1 << 30), kinds=tuple(Fault)).running() as proxy:
            os.environ.update(server.settings(_URL, proxy.endpoint))
            yield Bucket(open_objects(_URL, server.options), proxy)
