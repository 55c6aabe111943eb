"""The image of the Dockerfile: built, measured, and used as docker-compose.yml uses it. `make image-check` runs it.

It needs Docker or Podman, on Linux. PostgreSQL and Temporal are processes of this machine; a view is refreshed and
read with results in a volume, then with results on an S3 server, and with Podman once more in pods of the Helm chart.
"""

import argparse
import asyncio
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.deploy.by_hand import WORKERS, play
from tests.deploy.containers import ENGINES, Containers, build, compiled_at_start, measure
from tests.deploy.machine import log_of
from tests.deploy.pods import Pods
from tests.deploy.support import services
from tests.support.s3_server import BUCKET, s3_server

# On a kernel that has them all, a container must take none of them away.
_LAYERS = ("an empty environment", "Landlock", "seccomp")


def found_engine() -> str:
    """The engine of this machine. Exits if there is none."""
    found = next((name for name in ENGINES if shutil.which(name)), None)
    return found or sys.exit(f"none of {', '.join(ENGINES)} is installed")


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that the users of the containers can enter."""
    made = Path(tempfile.mkdtemp(prefix="mv-image-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


async def use(kind: type[Containers], engine: str, image: str, given: Mapping[str, str]) -> None:
    """Run everything with these settings of the store, and print how long each container took to be healthy."""
    with folder() as made:
        machine = kind(made, Path(sysconfig.get_path("scripts")), dict(given), engine=engine, image=image)
        await play(machine)
        load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
        for instance, seconds in machine.ready.items():
            say(f"{instance}: healthy {seconds:.1f} s after the engine was asked to start it (load {load})")
        for number in range(1, WORKERS + 1):
            (layers,) = (line for line in log_of(machine, f"worker{number}").splitlines() if "kept apart by" in line)
            assert all(layer in layers for layer in _LAYERS), layers
        say(layers.partition("queries ")[2])


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 - for people who run this by hand


def main() -> None:
    """Run by the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", help=f"{' or '.join(ENGINES)}, or the path of one; the first that is installed")
    parser.add_argument("--image", help="an image that is built already")
    asked = parser.parse_args()
    engine = asked.engine or found_engine()
    image = asked.image or str(services()["api"]["image"])
    if not asked.image:
        build(engine, image)
    sizes = measure(engine, image)
    say(f"{image}: {sizes.unpacked / 1e6:.0f} MB, {sizes.packed / 1e6:.0f} MB packed")
    assert compiled_at_start(engine, image) == []
    say("results in a volume")
    asyncio.run(use(Containers, engine, image, {}))
    with folder() as made, s3_server(made / "s3.log") as server:
        ways: dict[str, type[Containers]] = {"results in a bucket": Containers}
        if "podman" in Path(engine).name:
            ways["pods of the Helm chart, results in a bucket"] = Pods
        for number, (way, kind) in enumerate(ways.items()):
            say(way)
            asyncio.run(use(kind, engine, image, server.settings(f"s3://{BUCKET}/check-{number}")))
            listed = httpx.get(f"{server.endpoint}/{BUCKET}", params={"list-type": "2", "prefix": f"check-{number}/"})
            assert listed.text.count(".parquet</Key>") == 1, listed.text


if __name__ == "__main__":
    main()
