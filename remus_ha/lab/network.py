"""The lab's network: a namespace with a bridge per link and a cable per host and link.

A cable is: the host's tap, a bridge of its own (``port``), and a veth pair from it (``near``)
to the link's bridge (``far``). Pulling it takes the pair down, both ways; slowing it puts a
token bucket on both ends. This machine is address .254 of every link, inside the namespace.
"""

import ctypes
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from remus_ha.lab.errors import BadValue
from remus_ha.lab.plan import HostPlan, Link, outside_addresses, outside_mac
from remus_ha.lab.run import run

_CLONE_NEWNET = 0x40000000
_NAMESPACES = Path("/run/netns")
_BURST_BYTES = 32 * 1024
_LATENCY_MS = 200
_RTMGRP_LINK = 1
_UP_S = 10.0


@contextmanager
def entered(namespace: Path) -> Iterator[None]:
    """Let the calling thread, and what it starts, be inside a network namespace."""
    with open("/proc/thread-self/ns/net") as own, open(namespace) as other:
        _setns(other.fileno())
        try:
            yield
        finally:
            _setns(own.fileno())


def _setns(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Network:
    """One lab's namespace, by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = _NAMESPACES / name

    @property
    def exists(self) -> bool:
        """Whether the namespace is there."""
        return self.path.exists()

    def create(self, hosts: list[HostPlan]) -> None:
        """Make the namespace with all bridges and cables; the cables are plugged."""
        run(["ip", "netns", "add", self.name])
        lines = ["link set lo up"]
        for link in Link:
            lines += [*_bridge(link), f"link set {link} address {outside_mac(link)}"]
            lines += [f"addr add {a} dev {link} {_nodad(a)}" for a in outside_addresses(link)]
            for host in hosts:
                lines += _cable(host, link)
        self._batch(lines)

    def remove(self) -> None:
        """Remove the namespace and with it all devices; nothing happens without one."""
        if self.exists:
            run(["ip", "netns", "delete", self.name])

    def enter(self) -> AbstractContextManager[None]:
        """Let the calling thread, and what it starts, be inside; a context manager."""
        return entered(self.path)

    def set_plugged(self, host: HostPlan, link: Link, plugged: bool) -> None:
        """Plug or pull one cable; a plugged one carries frames when this returns."""
        state = "up" if plugged else "down"
        ends = [host.device(link, part) for part in ("near", "far")]
        self._batch([f"link set {end} {state}" for end in ends])
        if plugged:
            self.await_up(ends)

    def await_up(self, devices: Sequence[str]) -> None:
        """Until these links are up for their bridges as well.

        The kernel tells a bridge of its ports' carriers up to a second later; until then what is
        sent is dropped. Raises TimeoutError.
        """
        deadline = time.monotonic() + _UP_S
        with self.enter():
            news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with news:
            news.bind((0, _RTMGRP_LINK))
            while not all(self._is_up(device) for device in devices):
                news.settimeout(max(0.001, deadline - time.monotonic()))
                news.recv(65536)

    def _is_up(self, device: str) -> bool:
        return str(self._shown(device)["operstate"]) == "UP"

    def _shown(self, device: str) -> dict[str, Any]:
        shown = run(["ip", "-n", self.name, "-j", "link", "show", device])
        return dict(json.loads(shown)[0])

    def plugged(self, host: HostPlan, link: Link) -> bool:
        """Whether the cable is in."""
        return "UP" in self._shown(host.device(link, "near"))["flags"]

    def set_rate(self, host: HostPlan, link: Link, rate: str | None) -> None:
        """Slow one cable down to ``rate`` (as tc writes it: 10mbit) both ways; None: not."""
        if rate is not None and not re.fullmatch(r"\d+(\.\d+)?[kmg]?bit", rate):
            raise BadValue(what="a rate", value=rate, wanted="bits per second, such as 10mbit")
        for part in ("near", "far"):
            device = host.device(link, part)
            if rate is not None:
                bucket = f"rate {rate} burst {_BURST_BYTES} latency {_LATENCY_MS}ms".split()
                self._tc(["replace", "dev", device, "root", "tbf", *bucket])
            elif self._bucket(device) is not None:
                self._tc(["del", "dev", device, "root"])

    def rate_bit_s(self, host: HostPlan, link: Link) -> int | None:
        """The rate that the cable is slowed down to in bit/s, None when it is not."""
        return self._bucket(host.device(link, "near"))

    def _bucket(self, device: str) -> int | None:
        shown = run(["tc", "-n", self.name, "-j", "qdisc", "show", "dev", device, "root"])
        for qdisc in json.loads(shown):
            if qdisc.get("kind") == "tbf":
                return int(qdisc["options"]["rate"]) * 8
        return None

    def _tc(self, words: list[str]) -> None:
        run(["tc", "-n", self.name, "qdisc", *words])

    def _batch(self, lines: list[str]) -> None:
        run(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")


def _nodad(address: str) -> str:
    return "nodad" if ":" in address else ""


def _bridge(name: str) -> list[str]:
    return [
        f"link add name {name} type bridge mcast_snooping 0",
        f"link set {name} addrgenmode none",
        f"link set {name} up",
    ]


def _cable(host: HostPlan, link: Link) -> list[str]:
    tap, port, near, far = (host.device(link, part) for part in ("tap", "port", "near", "far"))
    return [
        *_bridge(port),
        f"tuntap add dev {tap} mode tap",
        f"link add name {near} type veth peer name {far}",
        *(f"link set {device} addrgenmode none" for device in (tap, near, far)),
        f"link set {tap} master {port} up",
        f"link set {near} master {port} up",
        f"link set {far} master {link} up",
    ]
