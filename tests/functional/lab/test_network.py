"""The lab's cables: plugged, pulled, slowed down, and gone without a trace."""

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from remus_ha.lab.errors import BadValue
from remus_ha.lab.network import Network
from remus_ha.lab.plan import HostPlan, Link

pytestmark = pytest.mark.root


class Station:
    """Something at the end of a host's cable, where its virtual card would be."""

    def __init__(self, network: Network, host: HostPlan, link: Link) -> None:
        self.namespace = Network(f"{network.name}-{host.name}")
        self.address = host.address(link)
        self._network = network
        self._port = host.device(link, "port")
        self._ports = [host.device(link, part) for part in ("near", "far")]
        self._inner = f"x-{host.name}"

    def create(self) -> None:
        outer, inside = f"o-{self._inner}", self.namespace.name
        for words in (
            f"netns add {inside}",
            f"-n {self._network.name} link add {outer} type veth peer name c netns {inside}",
            f"-n {self._network.name} link set {outer} master {self._port} up",
            f"-n {inside} link set c up",
            f"-n {inside} addr add {self.address}/24 dev c",
        ):
            subprocess.run(["ip", *words.split()], check=True, timeout=20)
        self._network.await_up([outer, *self._ports])

    def socket(self) -> socket.socket:
        with self.namespace.enter():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((self.address, 5000))
        made.settimeout(1.0)
        return made


@pytest.fixture
def stations(network: Network, hosts: list[HostPlan]) -> Iterator[list[Station]]:
    made = [Station(network, host, Link.REPL) for host in hosts]
    try:
        for station in made:
            station.create()
        yield made
    finally:
        for station in made:
            station.namespace.remove()


def heard(sender: socket.socket, receiver: socket.socket, address: str) -> bool:
    sender.sendto(b"x", (address, 5000))
    try:
        return receiver.recv(10) == b"x"
    except TimeoutError:
        return False


def test_a_pulled_cable_is_silent_both_ways(
    network: Network, hosts: list[HostPlan], stations: list[Station]
) -> None:
    a, b = stations
    with a.socket() as left, b.socket() as right:
        assert heard(left, right, b.address)
        assert heard(right, left, a.address)
        network.set_plugged(hosts[0], Link.REPL, False)
        assert not network.plugged(hosts[0], Link.REPL)
        assert network.plugged(hosts[1], Link.REPL)
        assert not heard(left, right, b.address)
        assert not heard(right, left, a.address)
        network.set_plugged(hosts[0], Link.REPL, True)
        assert heard(left, right, b.address)


@pytest.mark.parametrize("outward", [True, False])
def test_a_slow_cable_is_slow_both_ways(
    network: Network, hosts: list[HostPlan], stations: list[Station], outward: bool
) -> None:
    ends = stations if outward else stations[::-1]
    network.set_rate(hosts[0], Link.REPL, "1mbit")
    assert network.rate_bit_s(hosts[0], Link.REPL) == 1_000_000
    assert network.rate_bit_s(hosts[1], Link.REPL) is None
    with ends[0].socket() as sender, ends[1].socket() as receiver:
        assert heard(sender, receiver, ends[1].address)
        start = time.monotonic()
        for _ in range(40):
            sender.sendto(bytes(1400), (ends[1].address, 5000))
        got = 0
        while got < 40:
            got += len(receiver.recv(2000)) == 1400
            if time.monotonic() - start > 10:
                break
    # 56 kB, 32 kB of them at once: the rest takes 0.19 s at 125 kB/s; unslowed, it is 1 ms
    assert time.monotonic() - start > 0.12


def test_slowness_ends(network: Network, hosts: list[HostPlan]) -> None:
    for rate in ("1mbit", "2mbit", None, None):
        network.set_rate(hosts[0], Link.MGMT, rate)
    assert network.rate_bit_s(hosts[0], Link.MGMT) is None


def test_a_rate_that_is_none(network: Network, hosts: list[HostPlan]) -> None:
    with pytest.raises(BadValue, match="fast"):
        network.set_rate(hosts[0], Link.REPL, "fast")


def test_nothing_stays(hosts: list[HostPlan]) -> None:
    network = Network("remus-test-gone")
    network.create(hosts)
    assert network.exists
    network.remove()
    network.remove()
    assert not network.exists
