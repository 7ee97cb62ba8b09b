"""Notes every address beyond this machine that the tests' process asks for: no test may need a network, nor
pass for want of one. Processes that tests start are told so by the environment (conftest.py)."""

import ipaddress
import socket
import sys
from typing import Any

asked: list[str] = []
"""The addresses, since somebody last emptied the list."""

_OWN_NAMES = {"", "localhost", socket.gethostname()}


def watch() -> None:
    """From now on, for as long as the process lives."""
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    if not is_own(name):
        asked.append(name)


def is_own(host: str) -> bool:
    """Whether a host's name or address is this machine's, reached without a network."""
    if host in _OWN_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
