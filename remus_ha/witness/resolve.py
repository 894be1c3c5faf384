"""Host names to addresses, within a deadline.

``getaddrinfo`` has no bound of its own and may wait for name servers for half a minute, so it
runs in a thread that is left behind when it is late. Addresses need no thread; a witness is best
named by them, since names depend on one more service.
"""

import socket
import threading

from remus_ha.witness.deadline import Deadline
from remus_ha.witness.url import Endpoint

Address = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]


class Unresolved(Exception):
    """The name has no address, or not in time."""


def resolve(endpoint: Endpoint, deadline: Deadline) -> Address:
    """The first address of an endpoint. Raises Unresolved."""
    try:
        return _look_up(endpoint, socket.AI_NUMERICHOST)
    except OSError:
        return _look_up_aside(endpoint, deadline)


def _look_up(endpoint: Endpoint, flags: int) -> Address:
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=flags)
    family, _, _, _, address = found[0]
    return family, address


def _look_up_aside(endpoint: Endpoint, deadline: Deadline) -> Address:
    found: list[Address] = []
    errors: list[OSError] = []

    def work() -> None:
        try:
            found.append(_look_up(endpoint, 0))
        except OSError as e:
            errors.append(e)

    thread = threading.Thread(target=work, name="witness-resolve", daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    if found:
        return found[0]
    raise Unresolved(str(errors[0]) if errors else "its name was not resolved in time")
