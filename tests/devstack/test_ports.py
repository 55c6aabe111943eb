"""Which ports the stack listens on."""

import socket
from collections.abc import Generator

import pytest

from orchestrator.devstack.home import StackError
from orchestrator.devstack.ports import choose_ports


@pytest.fixture
def taken() -> Generator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_is_taken_is_refused_by_the_name_of_its_option(taken: int) -> None:
    with pytest.raises(StackError) as refused:
        choose_ports({"--port": 0, "--ui-port": taken})
    assert str(refused.value) == f"--ui-port {taken} is in use; choose another or 0 for a free one"


def test_a_port_that_is_free_is_used_and_no_port_is_chosen_twice() -> None:
    [free] = choose_ports({"--port": 0})
    ports = choose_ports({"--port": free, "--temporal-port": 0, "--ui-port": 0})
    assert ports[0] == free
    assert len(set(ports)) == 3


def test_the_same_port_for_two_things_is_refused() -> None:
    [free] = choose_ports({"--port": 0})
    with pytest.raises(StackError, match=f"--ui-port {free} is in use"):
        choose_ports({"--port": free, "--ui-port": free})
