"""The nemesis: kills and freezes processes, and fills the disk, at a pace at which all can recover."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from random import Random
from typing import Protocol

from chaos.harness import Harness
from chaos.processes import writers

# The supervisor of the stack gives up a part that dies five times within half a minute.
_BETWEEN_KILLS_OF_ONE = 12.0
_FREEZE_SECONDS = (2.0, 12.0)
_FULL_SECONDS = (2.0, 6.0)
# Often none, so that something is done; at times all, as when a bucket is away.
_FAULT_RATES = (0.0, 0.05, 0.2, 0.5, 1.0)


class Faults(Protocol):
    """A network of which a share of the requests, `rate`, fails."""

    rate: float


async def kill_parts(chaos: Harness, pace: float) -> None:
    """Kill a server, the API or a worker about every `pace` seconds."""
    random = chaos.history.random("killer")
    parts: list[str] = []
    while True:
        await asyncio.sleep(random.uniform(0.3, 1.7) * pace)
        if not parts:  # in rounds, so that even a short run kills each of them
            parts = [*chaos.workers, "api", "temporal", "postgres"]
            random.shuffle(parts)
        part = parts.pop()
        if time.monotonic() - chaos.history.killed.get(part, -_BETWEEN_KILLS_OF_ONE) < _BETWEEN_KILLS_OF_ONE:
            continue
        chaos.history.killed[part] = time.monotonic()
        chaos.history.note(None, f"kill -9 {part}")
        chaos.history.counts[f"kills/{'worker' if part in chaos.workers else part}"] += 1
        chaos.stack.kill(part)


async def kill_children(chaos: Harness, pace: float) -> None:
    """Kill a child process of a worker about every `pace` seconds: one that writes a result, if there is one."""
    random = chaos.history.random("killer of children")
    while True:
        await asyncio.sleep(random.uniform(0.3, 1.7) * pace)
        await asyncio.to_thread(_kill_child, chaos, random)


async def freeze_workers(chaos: Harness, pace: float) -> None:
    """Stop a worker with SIGSTOP, mostly for longer than its heartbeat timeout, and then let it continue."""
    random = chaos.history.random("freezer")
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * pace)
        pid = chaos.pid(random.choice(chaos.workers))
        if pid is None:
            continue
        seconds = random.uniform(*_FREEZE_SECONDS)
        chaos.history.frozen_until = time.monotonic() + seconds
        chaos.history.note(None, f"freeze worker {pid} for {seconds:.1f} s")
        chaos.history.counts["kills/worker frozen"] += 1
        try:
            _signal(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            _signal(pid, signal.SIGCONT)


async def fill_the_disk(chaos: Harness, pace: float) -> None:
    """Fill the disk of the store for 2 to 6 seconds. The store must have a disk of its own."""
    random = chaos.history.random("filler")
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * pace)
        chaos.history.note(None, "the disk is full")
        chaos.history.counts["kills/disk full"] += 1
        try:
            await chaos.disk.fill()
            await asyncio.sleep(random.uniform(*_FULL_SECONDS))
        finally:
            await chaos.disk.relieve()
            chaos.history.note(None, "the disk has room again")


async def disturb_the_network(chaos: Harness, network: Faults, pace: float) -> None:
    """Let a share of the requests between the stack and its bucket fail, another one every `pace` seconds or so."""
    random = chaos.history.random("network")
    try:
        while True:
            network.rate = random.choice(_FAULT_RATES)
            chaos.history.note(None, f"{network.rate:.0%} of the requests to the bucket fail")
            await asyncio.sleep(random.uniform(0.3, 1.7) * pace)
    finally:
        network.rate = 0.0


def _kill_child(chaos: Harness, random: Random) -> None:
    children = chaos.worker_children()
    at_work = writers(children, chaos.data / "staging")

    if children:
        pid = random.choice(sorted(at_work or children))
        chaos.history.note(None, f"kill -9 child {pid} {at_work.get(pid, '')}")
        chaos.history.counts["kills/child"] += 1
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
