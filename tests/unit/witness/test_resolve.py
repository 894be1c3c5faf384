import socket
import time

import pytest

from remus_ha.witness.deadline import Deadline
from remus_ha.witness.resolve import Unresolved, resolve
from remus_ha.witness.url import Endpoint


def test_addresses_and_names() -> None:
    assert resolve(Endpoint("127.0.0.1", 7), Deadline(1)) == (socket.AF_INET, ("127.0.0.1", 7))
    family, address = resolve(Endpoint("::1", 7), Deadline(1))
    assert (family, address[:2]) == (socket.AF_INET6, ("::1", 7))
    assert resolve(Endpoint("localhost", 7), Deadline(5))[1][0] in ("127.0.0.1", "::1")


def test_a_name_server_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def slow(host: str, port: int, **options: int) -> object:
        if not options["flags"] & socket.AI_NUMERICHOST:
            time.sleep(2)
        return real(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    with pytest.raises(Unresolved):
        resolve(Endpoint("localhost", 7), Deadline(0.2))
    assert time.monotonic() - start < 1.0


def test_a_name_without_address() -> None:
    with pytest.raises(Unresolved):
        resolve(Endpoint("no-such-name.invalid", 7), Deadline(10))
