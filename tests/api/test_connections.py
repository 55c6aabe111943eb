"""The bounds on connections, and which connection gives way to a new one."""

from ipaddress import ip_network

from api.connections import Bounds, Register, client_of


class Held:
    """A connection that remembers whether it gave way."""

    def __init__(self) -> None:
        self.is_over = False

    def give_way(self) -> None:
        self.is_over = True


def _fill(register: Register, host: str, count: int) -> list[Held]:
    held = [Held() for _ in range(count)]
    for one in held:
        assert register.admit(one, host)
    return held


def test_the_oldest_that_waits_of_the_same_client_gives_way() -> None:
    register = Register(Bounds(in_all=10, of_one=3))
    first, second, third = _fill(register, "192.0.2.1", 3)
    (other,) = _fill(register, "192.0.2.2", 1)
    register.mark_working(first)
    assert register.admit(Held(), "192.0.2.1")
    assert [one.is_over for one in (first, second, third, other)] == [False, True, False, False]


def test_one_of_the_client_with_the_most_gives_way_when_there_are_too_many_in_all() -> None:
    register = Register(Bounds(in_all=6, of_one=5))
    many, few = _fill(register, "192.0.2.1", 5), _fill(register, "192.0.2.2", 1)
    assert register.admit(Held(), "192.0.2.3")
    assert [one.is_over for one in (*many, *few)] == [True, *[False] * 5]
    assert len(register) == 6


def test_none_that_works_gives_way() -> None:
    register = Register(Bounds(in_all=2, of_one=2))
    held = _fill(register, "192.0.2.1", 2)
    for one in held:
        register.mark_working(one)
    assert not register.admit(Held(), "192.0.2.1")
    assert not register.admit(Held(), "192.0.2.2")
    register.mark_waiting(held[0])
    assert register.admit(Held(), "192.0.2.2")
    assert [one.is_over for one in held] == [True, False]


def test_a_connection_that_is_over_is_forgotten() -> None:
    register = Register(Bounds(in_all=2, of_one=1))
    (held,) = _fill(register, "192.0.2.1", 1)
    register.leave(held)
    register.leave(held)
    register.mark_waiting(held)
    assert len(register) == 0
    assert not register._clients
    assert register.admit(Held(), "192.0.2.1")


def test_a_trusted_proxy_and_what_has_no_address_stand_for_many_clients() -> None:
    register = Register(Bounds(in_all=10, of_one=1, trusted=[ip_network("192.0.2.0/24")]))
    held = [*_fill(register, "192.0.2.1", 3), *_fill(register, "", 3)]
    assert not any(one.is_over for one in held)


def test_addresses_that_one_client_has_for_itself_are_one_client() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1") != client_of("2001:db8:0:1::1")
    assert client_of("::ffff:192.0.2.1") == client_of("192.0.2.1") != client_of("192.0.2.2")
