"""Names of replicated disks, and the role that a host has in one.

``tap:remus:HOST:PORT|aio:/path`` names the backup's address and the local image, and is the same
on both hosts; ``tap:tapdisk:remus:…`` and the bare ``remus:…`` mean the same. HOST is IPv4.
"""

import errno
import re
import socket
from dataclasses import dataclass

from remus_ha.disk.tapdisk.errors import AddressTaken, AddressUnknown, UriInvalid

_URI = re.compile(
    r"(?:tap:(?:tapdisk:)?)?remus:(?P<host>[^:|,/\s]+):(?P<port>[^:|,/\s]+)"
    r"\|aio:(?P<path>/[^|,\0\n]*)"
)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PORT = re.compile(r"[1-9]\d{0,4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RemusDisk:
    """``host`` and ``port``: where the backup listens; ``path``: the image, alike on both hosts."""

    host: str
    port: int
    path: str

    @property
    def address(self) -> str:
        """``HOST:PORT``, which also names the FIFOs."""
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"tap:remus:{self.address}|aio:{self.path}"


def parse(text: str) -> RemusDisk:
    """Raises UriInvalid for whatever does not name exactly one host, one port and one image."""
    found = _URI.fullmatch(text)
    if not found:
        raise UriInvalid(text=text, detail="it has another form")
    host, port, path = found.group("host", "port", "path")
    if not _HOST.fullmatch(host):
        raise UriInvalid(text=text, detail=f"{host} is no host")
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise UriInvalid(text=text, detail=f"{port} is no port")
    if path.endswith("/"):
        raise UriInvalid(text=text, detail=f"{path} is a directory")
    return RemusDisk(host, int(port), path)


def resolve(disk: RemusDisk) -> tuple[str, int]:
    """The first IPv4 address of the backup. Raises AddressUnknown."""
    try:
        found = socket.getaddrinfo(disk.host, disk.port, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise AddressUnknown(host=disk.host, detail=e) from e
    host, port = found[0][4][:2]
    return str(host), int(port)


def claim(address: tuple[str, int]) -> socket.socket | None:
    """The listening socket where this host is the backup; None where it is the primary.

    The address decides: who can bind it is the backup. A kernel that binds addresses of others
    (``net.ipv4.ip_nonlocal_bind``) makes both hosts backups. Raises AddressTaken: somebody listens
    there already, and nothing is known.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as e:
        listener.close()
        if e.errno == errno.EADDRINUSE:
            raise AddressTaken(address=f"{address[0]} port {address[1]}") from e
        return None
    return listener
