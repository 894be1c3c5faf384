"""Names and addresses of everything in the lab. Pure: a host's number decides all of it."""

import enum
import string
from dataclasses import dataclass

from remus_ha.lab.errors import BadValue, UnknownLink

MAX_HOSTS = 9
MAX_VIFS = 4
MAX_DISKS = 8
OUTSIDE = 254
FIRST_GUEST = 50
MAX_GUESTS = 100


class Link(enum.StrEnum):
    """A host's three cables."""

    GUEST = "guest"
    REPL = "repl"
    MGMT = "mgmt"

    @property
    def net(self) -> int:
        """Third-to-last octet of its IPv4 network and last group of its IPv6 prefix."""
        return {Link.GUEST: 99, Link.REPL: 98, Link.MGMT: 97}[self]


def link_of(name: str) -> Link:
    """The link called ``name``; UnknownLink."""
    try:
        return Link(name)
    except ValueError:
        raise UnknownLink(link=name, known=", ".join(Link)) from None


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host: ``name`` is a letter, ``number`` counts from 1."""

    name: str
    number: int

    def address(self, link: Link) -> str:
        """Its IPv4 address on ``link``."""
        return f"10.{link.net}.0.{self.number}"

    def mac(self, link: Link) -> str:
        """The MAC of its card on ``link``."""
        return f"52:54:00:{link.net}:00:{self.number:02x}"

    def device(self, link: Link, part: str) -> str:
        """A device of the cable: ``tap`` and ``port`` bridge, ``near`` and ``far`` end."""
        return f"{self.name}-{link}-{part}"


def plan_hosts(count: int) -> list[HostPlan]:
    """The first ``count`` hosts: a, b, ... BadValue unless 1 to 9."""
    if not 1 <= count <= MAX_HOSTS:
        raise BadValue(what="the number of hosts", value=count, wanted=f"1 to {MAX_HOSTS}")
    return [HostPlan(string.ascii_lowercase[i], i + 1) for i in range(count)]


@dataclass(frozen=True, slots=True)
class GuestPlan:
    """A standard guest's addresses: vif K has 10.99.K.NUMBER and fd00:99[:K]::NUMBER.

    ``disks`` is how many images it has on hosts.
    """

    name: str
    number: int
    vifs: int = 1
    disks: int = 0

    def ipv4(self, vif: int = 0) -> str:
        """IPv4 address of ``vif``."""
        return f"10.99.{vif}.{self.number}"

    def ipv6(self, vif: int = 0) -> str:
        """IPv6 address of ``vif``; the number is written in decimal digits."""
        return f"{guest_prefix(vif)}::{self.number}"

    def mac(self, vif: int = 0) -> str:
        """MAC of ``vif``."""
        return f"00:16:3e:00:{vif:02x}:{self.number:02x}"


def guest_prefix(vif: int) -> str:
    """The IPv6 prefix (64 bits, without ``::``) in which every guest's ``vif`` lives."""
    return "fd00:99" if vif == 0 else f"fd00:99:{vif}"


def outside_mac(link: Link) -> str:
    """The machine's own MAC on ``link``; always the same, as frozen hosts remember it."""
    return f"52:54:00:{link.net}:00:fe"


def outside_addresses(link: Link) -> list[str]:
    """The machine's own addresses on ``link``, with their prefix lengths."""
    addresses = [f"10.{link.net}.0.{OUTSIDE}/24", f"fd00:{link.net}::{OUTSIDE}/64"]
    if link is Link.GUEST:
        for vif in range(1, MAX_VIFS):
            addresses += [f"10.99.{vif}.{OUTSIDE}/24", f"{guest_prefix(vif)}::{OUTSIDE}/64"]
    return addresses
