"""A client of the Network Block Device protocol that does one thing: writes, each one timed.

Fixed newstyle negotiation, simple replies (the protocol's doc/proto.md). Nothing is in flight
beside the write that is being timed.
"""

import socket
import struct
import time
from pathlib import Path

_OPTION = struct.Struct(">QII")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_IHAVEOPT = 0x49484156454F5054
_EXPORT_NAME = 1
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_WRITE = 1


class NbdWriter:
    """One connection to the default export of a server on a unix socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        greeting = self._take(18)
        if greeting[:8] != b"NBDMAGIC":
            raise OSError(f"{path} is no NBD server")
        # The server's flags answered with the same: fixed newstyle, no zeroes after the export.
        self._socket.sendall(struct.pack(">I", int.from_bytes(greeting[16:18], "big") & 3))
        self._socket.sendall(_OPTION.pack(_IHAVEOPT, _EXPORT_NAME, 0))
        self.size = int.from_bytes(self._take(10)[:8], "big")

    def write(self, offset: int, data: bytes) -> float:
        """Seconds until the write is acknowledged. Raises OSError."""
        began = time.perf_counter()
        self._socket.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, _WRITE, 0, offset, len(data)) + data)
        magic, error, _ = _REPLY.unpack(self._take(_REPLY.size))
        if magic != _REPLY_MAGIC or error:
            raise OSError(error, "the server refuses a write")
        return time.perf_counter() - began

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            octets = self._socket.recv(count - len(taken))
            if not octets:
                raise OSError("the server has closed the connection")
            taken += octets
        return taken

    def close(self) -> None:
        self._socket.close()
