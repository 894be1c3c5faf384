import pytest

from remus_ha.lab.errors import BadValue, UnknownLink
from remus_ha.lab.plan import GuestPlan, Link, link_of, outside_addresses, plan_hosts


def test_hosts_are_letters_with_addresses_on_every_link() -> None:
    a, b = plan_hosts(2)
    assert (a.name, b.name) == ("a", "b")
    assert b.address(Link.REPL) == "10.98.0.2"
    assert b.address(Link.GUEST) == "10.99.0.2"
    assert b.address(Link.MGMT) == "10.97.0.2"


@pytest.mark.parametrize("count", [0, -1, 10])
def test_a_number_of_hosts_that_cannot_be(count: int) -> None:
    with pytest.raises(BadValue, match="number of hosts"):
        plan_hosts(count)


def test_no_two_devices_macs_or_addresses_are_alike() -> None:
    hosts = plan_hosts(9)
    parts = ("tap", "port", "near", "far")
    devices = [h.device(link, part) for h in hosts for link in Link for part in parts]
    assert len(set(devices)) == len(devices)
    assert max(map(len, devices)) <= 15
    macs = [host.mac(link) for host in hosts for link in Link]
    assert len(set(macs)) == len(macs)


def test_link_names() -> None:
    assert link_of("repl") is Link.REPL
    with pytest.raises(UnknownLink, match="'disk'"):
        link_of("disk")


def test_a_guest_has_a_network_per_vif_and_the_outside_is_in_each() -> None:
    guest = GuestPlan("g", 50, vifs=2)
    assert (guest.ipv4(0), guest.ipv6(0)) == ("10.99.0.50", "fd00:99::50")
    assert (guest.ipv4(1), guest.ipv6(1)) == ("10.99.1.50", "fd00:99:1::50")
    assert guest.mac(0) != guest.mac(1)
    outside = outside_addresses(Link.GUEST)
    assert {"10.99.0.254/24", "10.99.1.254/24", "fd00:99:1::254/64"} <= set(outside)
