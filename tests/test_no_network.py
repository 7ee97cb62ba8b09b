"""The tests' own check that they need no network."""

import contextlib
import socket

import pytest

from tests import no_network


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1", "127.3.0.1", "::1", "0.0.0.0", socket.gethostname()])
def test_this_machine(host: str) -> None:
    assert no_network.is_own(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "host.invalid"])
def test_what_is_beyond_is_noted(host: str) -> None:
    with contextlib.suppress(OSError):
        socket.getaddrinfo(host, 9, flags=socket.AI_NUMERICHOST)  # asks nobody
    assert no_network.asked == [host]
    no_network.asked.clear()


def test_a_connection_is_noted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, contextlib.suppress(OSError):
        datagrams.connect(("192.0.2.1", 9))  # sends nothing
    assert no_network.asked == ["192.0.2.1"]
    no_network.asked.clear()


def test_loopback_is_not_noted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    assert no_network.asked == []
