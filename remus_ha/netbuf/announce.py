"""Telling the network where a guest's address is, after its vif is in the bridge.

The MAC does not change in a failover, so what has to learn are switches: one frame with the
guest's source address does. Sent as RARP requests, as QEMU announces itself, and repeated with
growing gaps because a switch's port may take a while to forward.
"""

import socket
from collections.abc import Mapping

from remus_ha.loop import Loop

GAPS_S = (0.0, 0.05, 0.15, 0.25, 0.35, 0.5, 1.0)
_RARP = 0x8035


def rarp(mac: str) -> bytes:
    """A RARP request of ``mac`` for itself, padded to the smallest Ethernet frame."""
    address = bytes.fromhex(mac.replace(":", ""))
    body = b"\x00\x01\x08\x00\x06\x04\x00\x03" + 2 * (address + bytes(4))
    frame = b"\xff" * 6 + address + _RARP.to_bytes(2, "big") + body
    return frame.ljust(60, b"\0")


class Announcer:
    """Announces every MAC on its bridge port's bridge; works out of ``loop``."""

    def __init__(self, loop: Loop, macs: Mapping[str, str]) -> None:
        """``macs``: MAC by bridge (or device) to send on."""
        self._loop, self._macs = loop, macs
        self._left = list(GAPS_S)
        self._next()

    @property
    def done(self) -> bool:
        return not self._left

    def _next(self) -> None:
        if self._left:
            self._loop.after(self._left[0], self._send)

    def _send(self) -> None:
        self._left.pop(0)
        for device, mac in self._macs.items():
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind((device, 0))
                s.send(rarp(mac))
        self._next()
