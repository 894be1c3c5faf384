"""Starting a disk's block server: what it is told, where it listens."""

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from remus_ha.disk import plugin
from remus_ha.disk.plugin import Starting
from remus_ha.disk.tapdisk.errors import ServerDidNotStart, ServerRefused
from remus_ha.stream.tcp import USER_TIMEOUT_MS

LIMIT = 64 << 20  # octets of the backlog; a guest's write waits beyond

_PLUGIN = plugin.Plugin(Path(__file__).with_name("proxy.py"), ServerRefused, ServerDidNotStart)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a block server works from. ``size`` and ``limit`` are octets, ``rate`` octets/s.

    ``direct``: QEMU had the image open past the page cache, and will again. ``orders`` is the path
    of the local socket; ``address``, ``port`` and ``tls`` lead to the store. ``patience_ms``: how
    long a network that takes nothing is borne.
    """

    disk: str
    path: str
    size: int
    direct: bool
    orders: str
    address: str = ""
    port: int = 0
    tls: str = ""
    rate: int = 0
    patience_ms: int = USER_TIMEOUT_MS
    limit: int = LIMIT
    ready_fd: int = -1

    @classmethod
    def load(cls, path: Path) -> "Setup":
        """Raises OSError, ValueError, TypeError."""
        return cls(**json.loads(path.read_text()))


def begin(setup: Setup, file: Path, listener: socket.socket, log: Path) -> Starting:
    """Start the process; it will serve on ``listener``, and replicates nothing before ``sync``.

    Raises ServerDidNotStart; waiting for it, ServerRefused as well.
    """
    return plugin.begin(
        _PLUGIN, setup.disk, setup=asdict(setup), file=file, listener=listener, log=log
    )
