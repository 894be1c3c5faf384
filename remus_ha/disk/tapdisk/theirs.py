"""The digests of the image that a store has found, as a block server reads them."""

import contextlib
import os
import socket

import nbd

from remus_ha.disk import digests
from remus_ha.disk.tapdisk.store_connection import CONNECT_S, Where, check_size, secure
from remus_ha.stream.fields import DIGEST_OCTETS
from remus_ha.stream.tcp import tune

AHEAD = 256  # blocks whose digests are asked for at once


class Theirs:
    """Used by one thread, but for ``end``; its calls raise StoreLost, nbd.Error, OSError."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._blocks = digests.count(where.size)
        self._socket: socket.socket | None = None
        self._handle: nbd.NBD | None = None
        self._first = 0  # block of the digests that are held
        self._held = b""

    def open(self) -> bool:
        """Whether there is anything to compare with."""
        where = self._where
        sock = self._socket = socket.create_connection(
            (where.address, where.port), timeout=CONNECT_S
        )
        sock.settimeout(None)
        tune(sock, where.patience_ms, idle=True)
        handle = self._handle = nbd.NBD()
        secure(handle, where)
        handle.set_export_name(digests.EXPORT)
        handle.connect_socket(os.dup(sock.fileno()))
        check_size(handle, self._blocks * DIGEST_OCTETS, 0)
        return bool(handle.get_size())

    def of(self, block: int) -> bytes:
        """The digest of one block; cheapest in ascending order."""
        place = (block - self._first) * DIGEST_OCTETS
        if not 0 <= place < len(self._held):
            self._fetch(block)
            place = 0
        return self._held[place : place + DIGEST_OCTETS]

    def _fetch(self, block: int) -> None:
        handle = self._handle
        if handle is None:
            raise OSError("no connection to the store's digests")
        count = min(AHEAD, self._blocks - block)
        self._held = bytes(handle.pread(count * DIGEST_OCTETS, block * DIGEST_OCTETS))
        self._first = block

    def end(self) -> None:
        """Whoever waits for a digest gets an error. Idempotent; by any thread."""
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
