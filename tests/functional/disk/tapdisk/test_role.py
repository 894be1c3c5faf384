"""Guards how a host finds out which end of a disk it is: by whether it can listen there."""

import socket

import pytest

from remus_ha.disk.tapdisk.errors import AddressTaken, AddressUnknown
from remus_ha.disk.tapdisk.peer import connect
from remus_ha.disk.tapdisk.uri import RemusDisk, claim, resolve

from .peers import DEADLINE_S, LOOPBACK, address_of, new_listener

NOT_OURS = "192.0.2.7"  # of a documentation network: nobody's


def free_address() -> tuple[str, int]:
    with new_listener() as listener:
        return address_of(listener)


def test_who_can_listen_there_is_the_backup() -> None:
    address = free_address()
    listener = claim(address)
    assert listener is not None
    primary = connect(address, DEADLINE_S)
    listener.accept()[0].close()
    primary.close()
    listener.close()


def test_who_cannot_is_the_primary() -> None:
    assert claim((NOT_OURS, 9000)) is None


def test_a_taken_address_tells_nothing() -> None:
    with new_listener() as listener:
        address = address_of(listener)
        with pytest.raises(AddressTaken, match=f"127.0.0.1 port {address[1]} is in use"):
            claim(address)


def test_the_backup_can_be_started_again_at_once() -> None:
    """Connections that its predecessor closed do not hold the address."""
    address = free_address()
    first = claim(address)
    assert first is not None
    with socket.create_connection(address, DEADLINE_S) as other:
        accepted, _ = first.accept()
        accepted.close()
        first.close()
        assert other.recv(1) == b""
    again = claim(address)
    assert again is not None
    again.close()


def test_names_lead_to_ipv4_addresses() -> None:
    assert resolve(RemusDisk("localhost", 9000, "/a")) == (LOOPBACK, 9000)
    assert resolve(RemusDisk(NOT_OURS, 9000, "/a")) == (NOT_OURS, 9000)


def test_a_name_that_leads_nowhere() -> None:
    with pytest.raises(AddressUnknown, match=r"a\.\.b has no IPv4 address"):
        resolve(RemusDisk("a..b", 9000, "/a"))
