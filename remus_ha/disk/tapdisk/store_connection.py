"""What every connection of a block server to its store has to be.

Only the block server's process imports this: libnbd's module belongs to the distribution's Python.
"""

from dataclasses import dataclass
from pathlib import Path

import nbd

from remus_ha.disk import tls

CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Where:
    """The store's. ``tls`` is the directory of the key, empty: in the clear.

    ``patience_ms``: a connection that takes nothing for so long is lost.
    """

    address: str
    port: int
    tls: str
    size: int
    patience_ms: int


class StoreLost(Exception):
    """What libnbd has no error for."""


def secure(handle: nbd.NBD, where: Where) -> None:
    """TLS, with a store that knows the key as well: each end proves itself to the other."""
    if where.tls:
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_tls_psk_file(str(Path(where.tls) / tls.FILE))
        handle.set_tls_username(tls.USER)


def check_size(handle: nbd.NBD, *sizes: int) -> None:
    """Raises StoreLost where this is not the store: nothing has been sent yet."""
    if handle.get_size() not in sizes:
        raise StoreLost(f"the store's disk has {handle.get_size()} octets, not {sizes[0]}")
