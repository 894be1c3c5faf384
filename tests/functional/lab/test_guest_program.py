"""The standard guest's program itself, and the outside client against it."""

import signal
import socket
import time

import pytest

from remus_ha.lab.control import CHATTER_PORT, GuestControl
from remus_ha.lab.errors import LedgerUnreachable
from remus_ha.lab.ledger import LedgerClient
from remus_ha.lab.network import Network
from remus_ha.lab.pcap import ChatterKind, Frame
from remus_ha.lab.process import Process
from tests.functional.lab.native import NativeGuest

pytestmark = pytest.mark.root


def control(network: Network, guest: NativeGuest) -> GuestControl:
    return GuestControl(network, guest.plan.ipv4())


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_every_client_is_served(
    network: Network, guest: NativeGuest, proto: str, version: int
) -> None:
    address = guest.plan.ipv4() if version == 4 else guest.plan.ipv6()
    name = f"{proto}{version}"
    with LedgerClient(network.enter, address, proto, name=name, rate_per_s=200) as client:
        while client.report().answers <= 20:
            client.wait_answer(time.monotonic(), 10)
        report = client.stop()
    assert report.intact
    assert report.finished
    assert report.answers > 20
    assert control(network, guest).stat().requests >= report.answers


def test_a_repeated_request_is_applied_once(network: Network, guest: NativeGuest) -> None:
    with network.enter():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(5)
        asking.connect((guest.plan.ipv4(), 7777))
        seen = []
        for request in (b"me 1 5", b"me 1 5", b"me 3 2", b"me 2 9", b"you 1 1", b"rubbish"):
            asking.send(request)
            if request != b"me 2 9":
                seen.append(asking.recv(100).decode().rsplit(maxsplit=1)[0])
    assert seen == ["me 1 5 1", "me 1 5 1", "me 3 7 2", "you 1 1 1", "error"]


def test_memory_load_can_be_changed(network: Network, guest: NativeGuest) -> None:
    asked = control(network, guest)
    asked.dirty(2048, 8)
    stat = asked.stat()
    assert (stat.dirty_kib_s, stat.dirty_mib) == (2048, 8)
    before = stat.ticks
    deadline = time.monotonic() + 10
    while asked.stat().ticks < before + 10:
        assert time.monotonic() < deadline


def test_a_gap_of_its_clock_is_noted(network: Network, guest: NativeGuest) -> None:
    """The program is stopped for a while, as a checkpoint stops a guest."""
    asked = control(network, guest)
    asked.reset()
    children = f"/proc/{guest.child.pid}/task/{guest.child.pid}/children"
    with open(children) as file:
        program = Process.of(int(file.read()))
    program.send(signal.SIGSTOP)
    time.sleep(0.1)  # the length of the pause itself, not a wait for an event
    program.send(signal.SIGCONT)
    assert asked.stat().gap_max_us >= 100_000
    gaps = asked.gaps()
    assert max(gap.gap_us for gap in gaps) >= 100_000
    asked.reset()
    assert asked.stat().gap_max_us < 100_000


def test_chatter_of_all_kinds_is_numbered(network: Network, guest: NativeGuest) -> None:
    seen: dict[ChatterKind, list[int]] = {kind: [] for kind in ChatterKind}
    with network.enter():
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with ear:
        ear.bind(("g0", 3))
        ear.settimeout(10)
        while min(map(len, seen.values())) < 3:
            frame = Frame(0.0, ear.recv(2000))
            if frame.chatter is not None:
                assert frame.source == guest.plan.mac()
                seen[frame.chatter.kind].append(frame.chatter.seq)
    numbers = sorted(number for kind in seen.values() for number in kind)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_multicast_chatter_can_be_received_as_a_datagram(
    network: Network, guest: NativeGuest
) -> None:
    with network.enter():
        ear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex("guest")
    with ear:
        ear.bind(("::", CHATTER_PORT))
        group = socket.inet_pton(socket.AF_INET6, "ff02::7777") + index.to_bytes(4, "little")
        ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        ear.settimeout(10)
        assert ear.recv(100).startswith(b"RHA1\x03")


def test_hello_until_welcomed(network: Network, guest: NativeGuest) -> None:
    with network.enter():
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ear:
        ear.bind(("", 7779))
        ear.settimeout(10)
        assert ear.recv(100) == b"hello native"
        control(network, guest).command("welcome")
        ear.settimeout(0.5)
        assert silent_at_last(ear)


def silent_at_last(ear: socket.socket) -> bool:
    """One hello may have been on its way already."""
    for _ in range(3):
        try:
            ear.recv(100)
        except TimeoutError:
            return True
    return False


@pytest.mark.parametrize("how", ["shutdown", "reboot", "exit"])
def test_it_can_be_ended_from_outside(network: Network, guest: NativeGuest, how: str) -> None:
    control(network, guest).end(how)
    guest.child.wait(10)
    with pytest.raises(LedgerUnreachable):
        control(network, guest).command("stat", timeout_s=0.5)
